"""The playground in headless Chromium: what a person does with it, and what the page must not do."""
import json
import pathlib
import re
import shutil
import subprocess

import pytest

import browser as chromium
from child import ROOT, SANITIZED, TIMEOUT
from unmask_server import CHAT, TEXT, Server

POCKET = ROOT / "models/pocket"
QUESTION = "What is the capital of France?"
KEY = "a-key-for-the-page"

pytestmark = pytest.mark.skipif(not chromium.PROGRAM, reason="chromium is missing: run scripts/setup test")

# Notes every change of the conversation: the state of the last answer, its cells, whether its text shows.
WATCH = """
window.seen = [];
new MutationObserver(() => {
  const answer = [...document.querySelectorAll('.answer')].at(-1);
  if (!answer) return;
  seen.push({
    state: answer.dataset.state,
    cells: [...answer.querySelectorAll('.cells .cell')].map((cell) => cell.dataset.s).join(''),
    settled: answer.querySelectorAll('.cells .settled').length,
    text: answer.querySelector('.text').hidden ? null : answer.querySelector('.text').textContent,
  });
}).observe(document.querySelector('main'), {subtree: true, childList: true, attributes: true,
                                             characterData: true});
"""


@pytest.fixture(scope="module")
def browser():
    program = chromium.Browser()
    yield program
    program.close()


@pytest.fixture(scope="module")
def pocket():
    server = Server(POCKET)
    yield server
    server.wait_idle()
    server.stop()


@pytest.fixture(scope="module")
def steps():
    """The same slowed down, so that every step is seen: a frame tells of all that was done since the
    last, and sanitizers are slow by themselves."""
    server = Server(POCKET, *(() if SANITIZED else ("--isa", "portable")))
    yield server
    server.wait_idle()
    server.stop()


@pytest.fixture
def visit(browser):
    """Opens the playground of a server; at the end no page may have complained."""
    tabs = []

    def open_page(server, ready=True, **how):
        tab = browser.open(f"http://127.0.0.1:{server.port}/", **how)
        tabs.append(tab)
        if ready:
            wait_for_model(tab)
        tab.eval(WATCH)
        return tab

    yield open_page
    for tab in tabs:
        faults = [] if getattr(tab, "may_complain", False) else tab.faults()
        tab.close()
        assert faults == []


def wait_for_model(tab):
    tab.wait("document.getElementById('model-facts').textContent !== ''")


def set_field(tab, **fields):
    for name, value in fields.items():
        tab.type(f"#set-{name}", str(value))


def state(tab):
    return tab.eval("[...document.querySelectorAll('.answer')].at(-1).dataset.state")


def wait_for(tab, wanted):
    tab.wait(f"document.querySelector('.answer')?.dataset.state === '{wanted}' && "
             "document.getElementById('send').textContent === 'Send'")


def ask(tab, question):
    tab.type("#question", question)
    tab.key("Enter")


def counter(tab, name):
    return tab.text(f"[data-counter={name}]")


def say(question):
    return {"messages": [{"role": "user", "content": question}]}


# ---- the decoder -------------------------------------------------------------------------------


def test_decoder_of_draft_frames():
    if not shutil.which("node"):
        pytest.skip("node is missing: run scripts/setup test")
    script = pathlib.Path(__file__).with_name("draft_decoder.mjs")
    done = subprocess.run(["node", script, ROOT / "server/www/draft.js"], capture_output=True, text=True,
                          timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr


# ---- questions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", ["g", "m"], ids=["guesses", "masks"])
def test_a_question_is_answered_with_drafts_seen(steps, visit, masked):
    tab = visit(steps)
    if masked == "m":
        tab.click("#set-guess")
    set_field(tab, seed=5, temperature=0.9, max_tokens=32)
    ask(tab, QUESTION)
    wait_for(tab, "done")
    whole = steps.post(CHAT, {**say(QUESTION), "seed": 5, "temperature": 0.9, "max_tokens": 32}).json
    assert tab.text(".answer .text") == whole["choices"][0]["message"]["content"].strip()

    seen = tab.eval("seen")
    running = [look for look in seen if look["state"] == "running" and look["cells"]]
    assert running and all(look["text"] is None for look in running)  # cells first, then text
    assert all(len(look["cells"]) >= 32 for look in running)
    assert any(masked in look["cells"] and "d" in look["cells"] for look in running)
    assert masked == "g" or not any("g" in look["cells"] for look in running)
    assert len({look["cells"] for look in running}) > 4
    assert any(look["settled"] > 0 for look in running)
    usage = whole["usage"]
    assert counter(tab, "steps") == str(usage["diffusion"]["steps"])
    assert counter(tab, "tokens") == str(usage["completion_tokens"])
    assert float(counter(tab, "per_step")) == pytest.approx(
        usage["completion_tokens"] / usage["diffusion"]["steps"], abs=0.006)
    assert float(counter(tab, "rate")) > 0 and re.fullmatch(r"\d+ ms", counter(tab, "first"))


def test_shade_is_the_confidence(pocket, visit):
    tab = visit(pocket)
    set_field(tab, hold=0)
    ask(tab, "Write a short story about Kate and a fish.")
    wait_for(tab, "done")
    tab.eval("document.querySelector('.answer input[type=range]').focus()")
    tab.key("Home")
    shades = tab.eval("[...document.querySelectorAll('.answer .cell[data-s=g]')]"
                      ".map((cell) => [cell.style.getPropertyValue('--c'), getComputedStyle(cell).color])")
    assert len({c for c, _ in shades}) > 2 and all(0 <= float(c) <= 1 for c, _ in shades)
    by_confidence = {}
    for c, color in shades:
        by_confidence.setdefault(c, set()).add(color)
    assert all(len(colors) == 1 for colors in by_confidence.values())
    assert len({color for _, color in shades}) == len(by_confidence)


def test_turns_and_system_prompt_go_along(pocket, visit):
    tab = visit(pocket)
    tab.click(".system summary")
    tab.type("#system", "Be brief.")
    set_field(tab, hold=0, max_tokens=32)
    ask(tab, QUESTION)
    wait_for(tab, "done")
    first = tab.text(".answer .text")
    ask(tab, "What is 27 + 45?")
    tab.wait("document.querySelectorAll('.answer[data-state=done]').length === 2")
    sent = [json.loads(event["params"]["request"]["postData"]) for event in tab.events("Network.requestWillBeSent")
            if event["params"]["request"]["url"].endswith(CHAT)]
    assert [[(m["role"], m["content"]) for m in body["messages"]] for body in sent] == [
        [("system", "Be brief."), ("user", QUESTION)],
        [("system", "Be brief."), ("user", QUESTION), ("assistant", first), ("user", "What is 27 + 45?")]]
    tab.click("#chat-new")
    assert tab.eval("document.querySelectorAll('.answer').length") == 0


def test_settings_show_and_leave_the_models_own(pocket, visit):
    tab = visit(pocket)
    recommended = pocket.get("/v1/models").json["data"][0]["diffusion"]["recommended"]
    for name in ("block_length", "temperature"):
        placeholder = tab.eval(f"document.getElementById('set-{name}').placeholder")
        assert float(placeholder) == recommended[name]
    assert tab.eval("document.getElementById('set-algorithm').selectedOptions[0].textContent") == (
        recommended["algorithm"])
    body = tab.eval("page.settings.body()") if tab.eval("typeof page") != "undefined" else None
    assert body is None  # the page's own names are not global
    set_field(tab, steps=8, block_length=16, threshold=0.5, max_tokens=32, interval=20, hold=0)
    tab.eval("document.getElementById('set-algorithm').value = 'threshold'")
    tab.eval("document.getElementById('set-preset').value = 'fast'")
    tab.click("#set-guess")
    ask(tab, QUESTION)
    wait_for(tab, "done")
    (sent,) = [json.loads(event["params"]["request"]["postData"])
               for event in tab.events("Network.requestWillBeSent")
               if event["params"]["request"]["url"].endswith(CHAT)]
    assert sent["max_tokens"] == 32 and "temperature" not in sent and "seed" not in sent
    assert sent["diffusion"] == {
        "preset": "fast", "algorithm": "threshold", "steps": 8, "block_length": 16, "threshold": 0.5,
        "stream": "draft", "draft": {"interval_ms": 20, "guess": False, "confidence": True}}
    tab.click("#settings-reset")
    assert tab.eval("[...document.querySelectorAll('#settings-fields input:not([type=checkbox]), "
                    "#settings-fields select')].every((field) => field.value === '')")


def test_replay_of_the_steps(steps, visit):
    tab = visit(steps)
    set_field(tab, hold=0, max_tokens=32)
    ask(tab, QUESTION)
    wait_for(tab, "done")
    text = tab.text(".answer .text")
    slider = ".answer input[type=range]"
    frames = int(tab.eval(f"document.querySelector('{slider}').max"))
    assert frames >= 4
    tab.eval(f"document.querySelector('{slider}').focus()")
    tab.key("Home")
    masks = []
    for i in range(frames):
        assert re.fullmatch(r"step \d+ of \d+", tab.text(".replay output"))
        masks.append(tab.eval("document.querySelectorAll('.answer .cell:is([data-s=m], [data-s=g])').length"))
        assert not tab.eval("document.querySelector('.answer .cells').hidden")
        tab.key("ArrowRight")
    assert masks == sorted(masks, reverse=True) and masks[0] > masks[-1]
    assert tab.text(".replay output") == "text" and tab.text(".answer .text") == text
    tab.eval("seen.length = 0")
    tab.click(".replay button")
    tab.wait(f"seen.length > {frames} && document.querySelector('.replay output').textContent === 'text'")
    assert any("g" in look["cells"] and look["text"] is None for look in tab.eval("seen"))


def test_copy_takes_the_answer(pocket, visit):
    tab = visit(pocket)
    set_field(tab, hold=0)
    tab.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
             browserContextId=tab.context)
    ask(tab, QUESTION)
    wait_for(tab, "done")
    tab.click(".replay button:last-child")
    tab.wait("document.querySelector('.replay button:last-child').textContent === 'Copied'")
    assert tab.eval("navigator.clipboard.readText()") == tab.text(".answer .text")


# ---- gaps --------------------------------------------------------------------------------------


def test_a_gap_is_filled_between_the_texts(pocket, visit):
    tab = visit(pocket)
    before, after = "The capital of France is", ".\n"
    set_field(tab, seed=3, temperature=0.5)
    tab.click("#tab-fill")
    tab.type("#before", before)
    tab.type("#gap", "3")
    tab.type("#after", after)
    tab.click("#fill")
    wait_for(tab, "done")
    body = {"prompt": before, "suffix": after, "max_tokens": 3, "seed": 3, "temperature": 0.5}
    filling = pocket.post(TEXT, body).content
    assert tab.eval("[...document.querySelector('.answer .text').childNodes].map((n) => n.textContent)") == [
        before, filling, after]
    running = [look for look in tab.eval("seen") if look["state"] == "running" and look["cells"]]
    assert running and {len(look["cells"]) for look in running} == {3}
    assert tab.eval("[...document.querySelectorAll('.cells .given')].map((n) => n.textContent)") == [
        before, after]


def test_without_a_text_behind_the_model_goes_on(pocket, visit):
    tab = visit(pocket)
    tab.click("#tab-fill")
    tab.type("#before", "The capital of")
    tab.type("#gap", "8")
    tab.type("#after", "")
    tab.key("Enter")  # in a text this is a line break
    assert tab.eval("document.querySelector('.answer')") is None
    tab.type("#after", "")
    set_field(tab, seed=1)
    tab.click("#fill")
    wait_for(tab, "done")
    body = {"prompt": "The capital of", "max_tokens": 8, "seed": 1}
    assert tab.eval("document.querySelector('.answer .filled').textContent") == pocket.post(TEXT, body).content


def test_a_base_model_says_that_it_cannot_chat(launch, visit):
    server = launch("--chat-template", "none")
    tab = visit(server)
    tab.may_complain = True  # Chromium itself notes each refused request
    tab.wait("!document.getElementById('chat-missing').hidden")
    assert "no chat template" in tab.text("#chat-missing")
    assert tab.eval("document.getElementById('send').disabled && document.getElementById('question').disabled")
    tab.click("#tab-fill")
    tab.type("#gap", "4")
    tab.click("#fill")
    tab.wait("document.querySelector('.answer')?.dataset.state === 'done'")


# ---- errors and stops --------------------------------------------------------------------------


def test_a_refused_setting_is_told_in_words(pocket, visit):
    tab = visit(pocket)
    tab.may_complain = True
    set_field(tab, temperature=3)
    ask(tab, QUESTION)
    wait_for(tab, "failed")
    message = pocket.post(CHAT, {**say(QUESTION), "temperature": 3}).error(
        400, "decimal_above_max_value", "temperature")
    assert tab.text(".answer .fault") == f"{message} (temperature)"
    assert tab.eval("document.getElementById('set-temperature').getAttribute('aria-invalid')") == "true"
    assert tab.eval("document.querySelector('.fault').getAttribute('role')") == "alert"
    assert tab.eval("document.getElementById('question').value") == QUESTION  # to try again
    set_field(tab, temperature="warm")
    tab.click("#send")
    tab.wait("document.querySelectorAll('.answer[data-state=failed]').length === 2")
    assert "(temperature)" in tab.eval("[...document.querySelectorAll('.fault')].at(-1).textContent")
    set_field(tab, temperature=0)
    tab.click("#send")
    tab.wait("document.querySelectorAll('.answer[data-state=done]').length === 1")
    assert tab.eval("document.querySelector('[aria-invalid]')") is None


def test_the_key_is_asked_for_and_kept_in_the_tab(launch, visit):
    server = launch("--api-key", KEY, model=POCKET)
    tab = visit(server, ready=False)
    tab.may_complain = True
    tab.wait("document.getElementById('key-dialog').open")
    tab.type("#key", "not-the-right-key")
    tab.key("Enter")
    tab.wait("document.getElementById('key-dialog').open && document.getElementById('key').value === ''")
    tab.wait("!document.getElementById('notice').hidden")
    assert tab.text("#notice") == server.get("/v1/models", Authorization="Bearer wrong-key").error(
        401, "invalid_api_key")
    tab.type("#key", KEY)
    tab.click("#key-save")
    wait_for_model(tab)
    assert tab.eval("document.getElementById('notice').hidden && !document.getElementById('key-dialog').open")
    assert tab.eval("[Object.values(sessionStorage), Object.values(localStorage)]") == [[KEY], []]
    ask(tab, QUESTION)
    wait_for(tab, "done")
    tab.call("Page.reload")
    tab.wait("document.readyState === 'complete'")
    wait_for_model(tab)
    tab.click("#key-open")
    tab.click("#key-forget")
    tab.wait("document.getElementById('key-dialog').open")  # asked for again
    assert tab.eval("Object.values(sessionStorage)") == []


def test_stop_frees_the_server(launch, visit):
    server = launch("--backend", "ref")
    tab = visit(server)
    set_field(tab, max_tokens=400)
    for number, stop in enumerate((lambda: tab.key("Escape"), lambda: tab.click("#send")), 1):
        ask(tab, "Hi")
        tab.wait("Boolean([...document.querySelectorAll('.answer')].at(-1)?.querySelector('.cell'))")
        assert server.metrics()["num_requests_running"] == 1 and tab.text("#send") == "Stop"
        stop()
        tab.wait(f"document.querySelectorAll('.answer[data-state=stopped]').length === {number}")
        server.wait_for_metric('request_success_total{finished_reason="abort"}', lambda n: n == number)
        server.wait_idle()
        assert tab.text("#send") == "Send" and "Stopped." in tab.text(".answer")


# Answers that no model gives: the browser gets them instead of the server's.


def scripted(tab, question, events):
    """Asks, and answers with these events."""
    tab.call("Fetch.enable", patterns=[{"urlPattern": "*/v1/chat/completions"}])
    ask(tab, question)
    paused = tab.wait_event("Fetch.requestPaused")
    body = "".join(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events)
    tab.fulfill(paused, body, "text/event-stream; charset=utf-8")
    tab.call("Fetch.disable")


def chunk(content="", frame=None, finish=None):
    choice = {"index": 0, "delta": {"content": content} if content else {}, "logprobs": None,
              "finish_reason": finish}
    if frame:
        choice["diffusion"] = frame
    return {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [choice]}


def test_markup_of_the_model_stays_text(pocket, visit):
    tab = visit(pocket)
    parts = ["<b>bold</b>", "<img src=x onerror='window.hacked=1'>", "<script>window.hacked=2</script>", "&amp;"]
    text = "".join(parts)
    frame = {"frame": "full", "seq": 0, "step": 1, "block": [0, 4], "len": 4, "settled": 4, "t": parts,
             "s": "dddd", "c": [90, 80, 70, 60]}
    scripted(tab, "<i>me</i>", [chunk(text, frame), chunk(finish="stop"), "[DONE]"])
    wait_for(tab, "done")
    assert tab.eval("document.querySelector('.answer .text').textContent") == text
    assert tab.eval("document.querySelector('.asked').textContent") == "<i>me</i>"
    tab.eval("document.querySelector('.answer input[type=range]').focus()")
    tab.key("Home")
    assert tab.eval("[...document.querySelectorAll('.answer .cell')].map((cell) => cell.textContent)") == parts
    assert tab.eval("document.querySelectorAll('.log :is(b, img, script, i)').length") == 0
    assert tab.eval("typeof hacked") == "undefined"


@pytest.mark.parametrize("events, words", [
    ([chunk("Half"), {"error": {"message": "The engine has stopped.", "type": "server_error", "param": None,
                                "code": "engine_error"}}, "[DONE]"], "The engine has stopped."),
    ([chunk("Half")], "The connection ended before the answer was complete."),
    ([chunk("Half", {"frame": "patch", "seq": 0, "step": 1, "settled": 0, "ops": [[0, 1, ["a"], "d"]]}),
      chunk(finish="stop"), "[DONE]"], "an op outside the draft"),
], ids=["error", "cut", "bad frame"])
def test_what_ends_a_stream_early_is_told(pocket, visit, events, words):
    tab = visit(pocket)
    scripted(tab, "Hi", events)
    wait_for(tab, "failed")
    assert words in tab.text(".answer .fault")
    assert tab.eval("document.getElementById('send').textContent") == "Send"


def test_a_server_that_is_gone_is_told(launch, visit):
    server = launch(model=POCKET)
    tab = visit(server)
    tab.may_complain = True
    server.kill()
    ask(tab, QUESTION)
    wait_for(tab, "failed")
    assert tab.text(".answer .fault") == "The server cannot be reached."


def test_a_model_that_loads_is_waited_for(pocket, visit):
    tab = visit(pocket)
    tab.may_complain = True
    loading = {"error": {"message": "Model is loading (37%).", "type": "server_error", "param": None,
                         "code": "model_loading"}}
    tab.call("Fetch.enable", patterns=[{"urlPattern": "*/v1/models"}, {"urlPattern": "*/health"}])
    tab.click("#key-open")
    tab.click("#key-forget")  # looks for the model again
    listed = tab.wait_event("Fetch.requestPaused")
    tab.fulfill(listed, json.dumps({"object": "list", "data": [{"id": "slow", "object": "model"}]}),
                "application/json")
    tab.wait("document.getElementById('model-name').textContent === 'slow'")
    while (health := tab.wait_event("Fetch.requestPaused")) == listed:
        pass
    tab.fulfill(health, json.dumps(loading), "application/json", status=503)
    tab.wait("document.getElementById('notice').textContent === 'Model is loading (37%).'")
    tab.call("Fetch.disable")
    tab.wait("document.getElementById('model-name').textContent === 'pocket'")
    assert tab.eval("document.getElementById('notice').hidden")


# ---- the page itself ---------------------------------------------------------------------------


def test_off_means_not_found(launch):
    server = launch("--no-playground")
    server.get("/").error(404, "unknown_url")
    assert server.ask("HEAD", "/").status == 404


def test_open_without_key_and_new_each_time(launch):
    server = launch("--api-key", KEY)
    first, second = server.get("/"), server.get("/")
    assert first.status == second.status == 200
    policies = [answer.headers["content-security-policy"] for answer in (first, second)]
    assert policies[0] != policies[1] and "unsafe" not in policies[0]
    head = server.ask("HEAD", "/")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(first.body))


def test_the_policy_stops_what_is_injected(pocket, visit):
    tab = visit(pocket)
    tab.may_complain = True
    tab.eval("""
      window.refused = [];
      document.addEventListener('securitypolicyviolation', (e) => refused.push(e.effectiveDirective));
      const script = document.createElement('script');
      script.textContent = 'window.hacked = 1';
      document.body.append(script);
      const holder = document.createElement('div');
      holder.innerHTML = '<img src="data:," onerror="window.hacked = 2"><style>body { margin: 77px }</style>'
        + '<img src="http://127.0.0.1:9/x.png"><form action="/v1/models"><button></button></form>';
      document.body.append(holder);
      holder.querySelector('button').click();
      fetch('http://127.0.0.1:9/').catch(() => {});
    """)
    tab.wait("new Set(refused).size >= 6")
    assert set(tab.eval("refused")) == {"script-src-elem", "script-src-attr", "style-src-elem", "img-src",
                                        "form-action", "connect-src"}
    assert tab.eval("typeof hacked") == "undefined"
    assert tab.eval("getComputedStyle(document.body).margin") == "0px"


def test_nothing_comes_from_elsewhere(pocket, visit):
    tab = visit(pocket)
    ask(tab, QUESTION)
    wait_for(tab, "done")
    own = f"http://127.0.0.1:{pocket.port}/"
    assert {url for url in tab.requested() if not url.startswith((own, "data:", "about:"))} == set()


def test_phone_width_needs_no_scrolling_sideways(pocket, visit):
    tab = visit(pocket, width=360, height=700, phone=True)
    fits = "document.documentElement.scrollWidth <= 360 && innerWidth === 360"
    assert tab.eval(fits)
    set_field_open = "document.getElementById('settings').classList.contains('open')"
    tab.click("#settings-open")
    assert tab.eval(set_field_open) and tab.eval(fits)
    tab.click("#settings-open")
    ask(tab, "W" * 200)
    tab.wait("document.querySelectorAll('.cells .cell').length > 16")
    assert tab.eval(fits)
    wait_for(tab, "done")
    assert tab.eval(fits)
    for selector in ("#send", ".replay", ".counters", "#key-open", "#theme"):
        left, right = tab.eval(f"(() => {{ const r = document.querySelector('{selector}')"
                               ".getBoundingClientRect(); return [r.left, r.right]; })()")
        assert left >= 0 and right <= 360, selector
    tab.click("#tab-fill")
    assert tab.eval(fits)


def test_keyboard(pocket, visit):
    tab = visit(pocket)
    set_field(tab, hold=0, max_tokens=32)
    tab.type("#question", "What is")
    tab.key("Enter", shift=True)
    assert tab.eval("document.getElementById('question').value") == "What is\n"
    assert tab.eval("document.querySelector('.answer')") is None
    tab.key("Tab")
    assert tab.eval("document.activeElement.matches('button:focus-visible')")
    assert tab.eval("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.eval("document.getElementById('tab-chat').focus()")
    tab.key("ArrowRight")
    assert tab.eval("document.activeElement.id") == "tab-fill"
    assert tab.eval("document.getElementById('panel-chat').hidden && !document.getElementById('panel-fill').hidden")
    tab.key("ArrowLeft")
    ask(tab, QUESTION)
    wait_for(tab, "done")


def test_what_is_read_out_is_little(pocket, visit):
    tab = visit(pocket)
    tab.eval("window.said = []; new MutationObserver(() => said.push(document.getElementById('say').textContent))"
             ".observe(document.getElementById('say'), {childList: true, characterData: true, subtree: true})")
    set_field(tab, max_tokens=32)
    ask(tab, QUESTION)
    wait_for(tab, "done")
    assert tab.eval("said") == ["Answering.", "Answer: " + tab.text(".answer .text")]
    assert tab.eval("document.querySelector('.cells').getAttribute('aria-hidden')") == "true"
    lives = tab.eval("[...document.querySelectorAll('[aria-live], [role=status], [role=log]')].map((n) => n.id)")
    assert sorted(lives) == ["notice", "say"]


def luminance(color):
    def linear(part):
        part = float(part) / 255
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    r, g, b = map(linear, re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", color).groups())
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_dark_and_light(pocket, visit):
    tab = visit(pocket)
    look = ("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color, "
            "getComputedStyle(document.querySelector('.settings .muted')).color]")
    seen = {}
    for scheme in ("light", "dark"):
        tab.scheme(scheme)
        seen[scheme] = ground, ink, muted = tab.eval(look)
        assert contrast(ground, ink) >= 7 and contrast(ground, muted) >= 4.5  # WCAG's AAA and AA
    assert luminance(seen["light"][0]) > 0.8 > 0.05 > luminance(seen["dark"][0])
    for scheme in ("light", "dark"):  # the switch is stronger than the system
        tab.click("#theme")
        assert tab.eval(look) == seen[scheme]
    tab.call("Page.reload")
    tab.wait("document.readyState === 'complete'")
    assert tab.eval("document.documentElement.dataset.theme") == "dark"
