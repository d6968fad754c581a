# The balancer of compose.yaml:
#   docker build -f docker/haproxy.Dockerfile -t unmask-haproxy docker
# HAProxy 2.6: with 3.0, which comes after it in Debian, what waits at a replica that stands still is lost
# (see haproxy.cfg).
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends haproxy \
    && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log \
    && useradd --uid 10002 --no-create-home --shell /usr/sbin/nologin balancer
COPY haproxy.cfg haproxy.lua /etc/unmask/
USER 10002:10002
EXPOSE 8080 8405
# Streams may end; SIGTERM would cut them.
STOPSIGNAL SIGUSR1
# The image has no curl, and HAProxy does not ask itself.
HEALTHCHECK --interval=10s --timeout=5s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /balancer/health HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.. 200' <&3"]
ENTRYPOINT ["haproxy", "-W", "-db", "-f", "/etc/unmask/haproxy.cfg"]
LABEL org.opencontainers.image.title="unmask, balancer" \
      org.opencontainers.image.description="HAProxy with the settings for replicas of unmask" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
