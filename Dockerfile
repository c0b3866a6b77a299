# The image of the actions guard and reap: ci-runner with the libraries of the clouds, and nothing else.
# PIP_INDEX_URL and UV_DEFAULT_INDEX name another package index; they are not kept in the image.
ARG BASE=docker.io/library/python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
WORKDIR /opt/ci-runner
COPY . .
# uv and every package as uv.lock pins them, then bytecode for the users who may not write it
RUN CI_RUNNER_GROUPS='' CI_RUNNER_EXTRAS='aws gcp' XDG_CACHE_HOME=/tmp/cache scripts/ci-runner --version \
 && python3 -I scripts/docker/trim.py .venv \
 && .venv/bin/python -I -m compileall -q -j 0 .venv/lib ci_runner

FROM ${BASE}
# who works where the runner is root itself; there is no USER, for the entries give up root (docs/adr/docker-user.md)
RUN groupadd --gid 10001 ci-runner \
 && useradd --no-log-init --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ci-runner
COPY --from=build /opt/ci-runner /opt/ci-runner
RUN for name in guard guard-release reap; do \
      ln -s /opt/ci-runner/scripts/docker/enter "/usr/local/bin/ci-runner-$name"; \
    done
ENTRYPOINT ["/usr/local/bin/ci-runner-reap"]
