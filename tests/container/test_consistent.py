"""Files of docker/ agree with each other and with the program: names of options, paths, ports, labels,
times that must exceed other times."""
import re
import shutil
import subprocess

import pytest
import yaml

from child import ROOT
from files import DOCKER, K8S, OPS, check, config_map, documents, load, merged, option_defaults, seconds
from unmask_server import Server

COMPOSE = load(DOCKER / "compose.yaml")
GPUS = load(DOCKER / "compose.cuda.yaml")["services"]
BASE = documents(K8S / "base")
DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")


def text_of(name):
    return (DOCKER / name).read_text()


@pytest.fixture(scope="module")
def server():
    running = Server(ROOT / "models/pocket")
    yield running
    running.stop()


# ---- names and numbers ----


def test_versions_are_the_projects():
    version = re.search(r"project\(unmask VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    for name in DOCKERFILES:
        assert re.findall(r"^ARG VERSION=(\S+)$", text_of(name), re.M) == [version]
    for folder in ("base", "gpu"):
        assert load(K8S / folder / "kustomization.yaml")["images"][0]["newTag"] == version


def test_every_variable_is_an_option():
    names = set(BASE["ConfigMap"]["data"]) | set(COMPOSE["services"]["unmask"]["environment"])
    for name in DOCKERFILES:
        names |= set(re.findall(r"\b(UNMASK_\w+)=", re.sub(r"^#.*\n|UNMASK_CACHE", "", text_of(name), flags=re.M)))
    assert len(names) > 6
    for name in names:
        assert name.removeprefix("UNMASK_").lower() in option_defaults(), name


def test_both_images_have_the_same_libraries_and_the_programs_own_health_check():
    packages = [re.search(r"AS (?:runtime|program)\n.*?recommends \\\n\s+(.*?) \\\n", text_of(name), re.S).group(1)
                for name in DOCKERFILES]
    assert packages[0] == packages[1]
    for name in DOCKERFILES:
        text = text_of(name)
        assert 'CMD ["/opt/unmask/unmask", "health"]' in text and "\nSTOPSIGNAL SIGTERM\n" in text
        assert text.rstrip().splitlines() and re.findall(r"^USER (\S+)$", text, re.M)[-1] == "10001:10001"
        assert "native" not in text  # an image fits other processors than its builder's


@pytest.mark.parametrize("name", DOCKERFILES)
def test_builds_without_a_commits_name_differ_as_their_sources_do(name, tmp_path):
    """Clients may rely on system_fingerprint, into which it goes."""
    text = text_of(name)
    snippet = re.search(r"^RUN (revision=.*?fi) \\\n", text, re.M | re.S).group(1).replace("\\\n", " ")
    assert "FROM" not in snippet and '-DUM_COMMIT="$revision"' in text
    assert 'revision="$REVISION"' in text  # the label says what was given, and no hash

    def revision(given, **files):
        shutil.rmtree(tmp_path)
        (tmp_path / "core").mkdir(parents=True)
        for file, content in files.items():
            (tmp_path / "core" / file).write_text(content)
        return check(["bash", "-euo", "pipefail", "-c", f'{snippet}; echo "$revision"'], cwd=tmp_path,
                     env={"PATH": "/usr/bin:/bin", "REVISION": given}).strip()

    first = revision("unknown", a="1", b="2")
    assert re.fullmatch("src-[0-9a-f]{8}", first)
    assert first == revision("unknown", b="2", a="1")
    others = [revision("unknown", a="1", b="3"), revision("unknown", a="1", c="2"), revision("unknown", a="2", b="1")]
    assert len({first, *others}) == 4
    assert revision("0123456789ab", a="1") == "0123456789ab"


def test_only_our_checkpoint_goes_into_an_image_or_the_repository():
    for name, folder in ((".dockerignore", "models"), (".gitignore", "/models")):
        lines = (ROOT / name).read_text().splitlines()
        assert lines.index(f"!{folder}/pocket") > lines.index(f"{folder}/*")
    ignored = subprocess.run(["git", "-C", ROOT, "check-ignore", "models/llada/config.json", "docker/.env",
                              "models/pocket/config.json"], capture_output=True, text=True)
    if ignored.returncode > 1:
        pytest.skip("no checkout of git")
    assert ignored.stdout.split() == ["models/llada/config.json", "docker/.env"]


# ---- compose and the balancer ----


def test_the_balancer_finds_the_replicas_by_the_services_name_and_port():
    config = text_of("haproxy.cfg")
    assert re.search(r"server-template replica 1-\d+ unmask:8080 ", config)
    assert COMPOSE["services"]["unmask"]["expose"] == [option_defaults()["port"]]
    assert load(DOCKER / "prometheus.yml")["scrape_configs"][0]["dns_sd_configs"][0]["names"] == ["unmask"]
    assert COMPOSE["services"]["unmask"]["environment"]["UNMASK_EARLY_HEADERS"] == "false"


def test_only_the_balancer_is_published_and_on_loopback():
    assert "ports" not in COMPOSE["services"]["unmask"]
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), service
    assert re.search(r"frontend stats\n    bind 127\.0\.0\.1:", text_of("haproxy.cfg"))


def test_the_balancer_waits_longer_than_a_request_may_take():
    options, config = option_defaults(), text_of("haproxy.cfg")
    longest = int(options["queue_timeout"]) + int(options["request_timeout"])
    for side in ("client", "server"):
        assert seconds(re.search(rf"timeout {side} (\S+)", config).group(1)) > longest


def test_grace_exceeds_the_drain():
    service = COMPOSE["services"]["unmask"]
    drain = int(service["environment"]["UNMASK_DRAIN_TIMEOUT"])
    assert seconds(service["stop_grace_period"]) > drain
    hard_stop = seconds(re.search(r"hard-stop-after (\S+)", text_of("haproxy.cfg")).group(1))
    assert seconds(COMPOSE["services"]["haproxy"]["stop_grace_period"]) > hard_stop >= drain


def test_prometheus_and_grafana_are_an_optional_profile():
    optional = {name for name, service in COMPOSE["services"].items() if service.get("profiles") == ["monitoring"]}
    assert optional == {"prometheus", "grafana"}


def test_replacing_a_replica_leaves_the_balancer_alone():
    """Compose stops what depends on a service whose containers it replaces."""
    assert not any("depends_on" in service for service in COMPOSE["services"].values())


def test_logs_have_the_driver_that_their_options_are_for():
    for service in COMPOSE["services"].values():
        assert service["logging"]["driver"] == "json-file"


def devices(service):
    (reserved,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert reserved["driver"] == "nvidia" and reserved["capabilities"] == ["gpu"] and "count" not in reserved
    return reserved["device_ids"]


def test_a_gpu_is_a_service_of_one_replica():
    """Docker gives every replica of a service the same devices."""
    assert all(service["deploy"]["replicas"] == 1 for service in GPUS.values())
    ids = [device for service in GPUS.values() for device in devices(service)]
    assert len(ids) == len(set(ids)) == len(GPUS) > 1


def test_the_second_gpu_is_optional_and_found_like_the_first():
    assert "profiles" not in GPUS["unmask"] and devices(GPUS["unmask"]) == ["0"]
    for name, service in GPUS.items():
        if name == "unmask":
            continue
        # the base's file, for lists of two services are joined: extending the first would add its device
        assert service["extends"] == {"file": "compose.yaml", "service": "unmask"} and len(service["profiles"]) == 1
        assert service["networks"] == {"inside": {"aliases": ["unmask"]}}
        assert (service["image"], service["build"]) == (GPUS["unmask"]["image"], GPUS["unmask"]["build"])


@pytest.mark.parametrize("profile", [(), ("--profile", "gpu1")])
def test_podman_compose_reads_the_files(profile):
    if not shutil.which("podman"):
        pytest.skip("podman-compose asks podman for its version; scripts/container_test brings it")
    # from there: it looks for the file of `extends` in the folder where it runs
    said = check([OPS / "podman-compose", *profile, "-f", "compose.yaml", "-f", "compose.cuda.yaml", "config"],
                 cwd=DOCKER)
    assert "unmask-cuda:latest" in said and "driver: nvidia" in said
    assert ("  unmask-gpu1:\n" in said) == bool(profile)


# ---- Kubernetes ----


def overlay(folder):
    """A kustomization's manifests by kind, its patches applied."""
    settings = load(K8S / folder / "kustomization.yaml")
    found = {}
    for resource in settings["resources"]:
        path = K8S / folder / resource
        if path.is_dir():
            found.update(overlay(path.name))
        else:
            found[load(path)["kind"]] = load(path)
    for rule in settings.get("configMapGenerator", ()):
        found["ConfigMap"] = config_map(K8S / folder, rule)
    for patch in settings.get("patches", ()):
        change = load(K8S / folder / patch["path"])
        assert change["metadata"]["name"] == found[change["kind"]]["metadata"]["name"]
        found[change["kind"]] = merged(found[change["kind"]], change)
    return found


def test_kustomizations_name_every_manifest():
    for folder in ("base", "gpu"):
        settings = load(K8S / folder / "kustomization.yaml")
        named = set(settings["resources"]) | {patch["path"] for patch in settings.get("patches", ())}
        named |= {name for rule in settings.get("configMapGenerator", ()) for name in rule["envs"]}
        there = {path.name for path in (K8S / folder).iterdir()} - {"kustomization.yaml"}
        assert there == named - {"../base"}


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_the_gpu_overlay_follows_the_schema_and_has_one_gpu(version, tmp_path):
    manifests = overlay("gpu")
    files = []
    for kind, manifest in manifests.items():
        files.append(tmp_path / f"{kind}.yaml")
        files[-1].write_text(yaml.safe_dump(manifest))
    check([OPS / "kubernetes-validate", "--strict", "-k", version, *files])
    container = pod(manifests)["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["readinessProbe"] == pod(BASE)["containers"][0]["readinessProbe"]  # the rest stayed


def kustomized(folder):
    """What kubectl makes of it, without a cluster."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl on this machine")
    found = list(yaml.safe_load_all(check(["kubectl", "kustomize", K8S / folder])))
    assert len({document["kind"] for document in found}) == len(found)
    return {document["kind"]: document for document in found}


@pytest.mark.parametrize("folder", ["base", "gpu"])
def test_kubectl_makes_the_same_of_a_kustomization(folder):
    made, expected = kustomized(folder), overlay(folder)
    namespace = load(K8S / "base/kustomization.yaml")["namespace"]
    config = made["ConfigMap"]["metadata"]
    assert re.fullmatch("unmask-[a-z0-9]{10}", config["name"])  # other options, another name: a rollout
    assert pod(made)["containers"][0]["envFrom"][0] == {"configMapRef": {"name": config["name"]}}
    pod(made)["containers"][0]["envFrom"][0]["configMapRef"]["name"] = config["name"] = "unmask"
    image = load(K8S / folder / "kustomization.yaml")["images"][0]
    assert pod(made)["containers"][0].pop("image") == f"{image.get('newName', 'unmask')}:{image['newTag']}"
    del pod(expected)["containers"][0]["image"]
    assert made["Namespace"] == expected["Namespace"] and made["Namespace"]["metadata"]["name"] == namespace
    for kind in expected.keys() - {"Namespace"}:
        assert made[kind]["metadata"].pop("namespace") == namespace
        assert made[kind] == expected[kind], kind


def test_the_autoscaler_alone_says_how_many_replicas():
    """With a number in the Deployment every `kubectl apply` would undo what it did."""
    for folder in ("base", "gpu"):
        assert "replicas" not in overlay(folder)["Deployment"]["spec"]
        assert overlay(folder)["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2


@pytest.mark.parametrize("folder", ["base", "gpu"])
def test_there_are_as_many_threads_as_cpus_are_asked_for(folder):
    """A request is no limit that the program could see."""
    manifests = overlay(folder)
    resources = pod(manifests)["containers"][0]["resources"]
    assert manifests["ConfigMap"]["data"]["UNMASK_THREADS"] == resources["requests"]["cpu"]
    assert "cpu" not in resources["limits"]


def test_the_secret_is_made_as_the_pods_look_for_it():
    secret = pod(BASE)["containers"][0]["envFrom"][1]["secretRef"]
    namespace = load(K8S / "base/kustomization.yaml")["namespace"]
    command = (f"kubectl -n {namespace} create secret generic {secret['name']} "
               "--from-literal=UNMASK_API_KEY=KEY1,KEY2\n")
    for path in (K8S / "base/options.env", ROOT / "docs/operations.md"):
        assert command in path.read_text(), path
    assert "api_key" in option_defaults()
    # who publishes must not do so without keys because the secret is somewhere else
    assert secret["optional"] is True and "optional: true" in (K8S / "optional/ingress.yaml").read_text()


def pod(manifests):
    return manifests["Deployment"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("folder", ["base", "gpu"])
def test_selectors_match_the_pods_labels(folder):
    manifests = overlay(folder)
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    spread = pod(manifests)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
    for selector in (manifests["Service"]["spec"]["selector"], spread,
                     manifests["Deployment"]["spec"]["selector"]["matchLabels"],
                     manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]):
        assert selector and selector.items() <= labels
    target = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", manifests["Deployment"]["metadata"]["name"])


def test_what_is_optional_refers_to_the_service():
    optional = documents(K8S / "optional")
    service = BASE["Service"]
    (path,) = optional["Ingress"]["spec"]["rules"][0]["http"]["paths"]  # not /metrics, not the playground
    assert (path["path"], path["pathType"]) == ("/v1", "Prefix")
    backend = path["backend"]["service"]
    assert backend == {"name": service["metadata"]["name"], "port": {"name": service["spec"]["ports"][0]["name"]}}
    monitor = optional["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    for manifest in optional.values():
        assert manifest["metadata"]["namespace"] == load(K8S / "base/kustomization.yaml")["namespace"]


def test_probes_ask_what_the_server_answers(server):
    container = pod(BASE)["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert str(ports["http"]) == BASE["ConfigMap"]["data"]["UNMASK_PORT"]
    assert BASE["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] in ports and server.get(asked["path"]).status == 200
    # liveness must not depend on readiness: a replica that loads or drains would be killed
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert server.get(documents(K8S / "optional")["ServiceMonitor"]["spec"]["endpoints"][0]["path"]).status == 200


def test_grace_exceeds_pause_and_drain():
    pause = int(pod(BASE)["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1])
    drain = int(BASE["ConfigMap"]["data"]["UNMASK_DRAIN_TIMEOUT"])
    assert pod(BASE)["terminationGracePeriodSeconds"] > pause + drain


def test_the_autoscaler_asks_for_metrics_that_exist(server):
    names = {metric["pods"]["metric"]["name"] for metric in BASE["HorizontalPodAutoscaler"]["spec"]["metrics"]}
    assert names == {"unmask_num_requests_waiting", "unmask_batch_occupancy_ratio"}
    assert {name.removeprefix("unmask_") for name in names} <= set(server.metrics())
    adapter = (K8S / "optional/prometheus-adapter.yaml").read_text()
    assert all(name in adapter for name in names)


def test_a_services_variables_cannot_become_options():
    """Kubernetes would set UNMASK_PORT=tcp://... for a service named unmask."""
    assert pod(BASE)["enableServiceLinks"] is False


def test_pods_are_as_restricted_as_the_namespace_demands():
    spec, container = pod(BASE), pod(BASE)["containers"][0]["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001
    assert container == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                         "capabilities": {"drop": ["ALL"]}}
