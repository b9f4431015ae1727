# An image with Holdfast, its own Node, and nothing that a backup does not need. docs/deploy/README.md says how it is run.
#
#   docker build -t holdfast .                    the program
#   docker build -t holdfast:tools --target tools .   with clients of databases, for `command` sources
#
# Any Debian will do as a base. The image that builds needs npm 10 or newer, with its Node, and the C library of the base.
ARG BASE_IMAGE=debian:bookworm-slim
ARG BUILD_IMAGE=node:26-bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /opt/holdfast
# What is installed follows from these alone: a change of the source installs nothing anew.
COPY package.json package-lock.json .npmrc ./
COPY tools ./tools
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json recover.mjs LICENSE ./
COPY bin ./bin
COPY schemas ./schemas
COPY scripts ./scripts
COPY src ./src
# With the Node that the project pins: of it only the program goes on, without headers, where the launcher looks for one.
RUN install -D node_modules/node-linux-*/bin/node /out/node && /out/node scripts/build.mjs \
  && npm prune --omit=dev --ignore-scripts && rm -rf node_modules/node-linux-* node_modules/@holdfast \
  && mkdir -p /out/holdfast && cp -a package.json recover.mjs LICENSE bin dist schemas node_modules /out/holdfast/

FROM ${BASE_IMAGE} AS base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Holdfast" \
  org.opencontainers.image.description="Declarative backup daemon that converges to the protection you declare and proves its restores" \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}"
# tini is process 1: it passes signals on, and waits for what hooks and dump programs leave behind. Node needs libatomic1.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libatomic1 tini && rm -rf /var/lib/apt/lists/* \
  && groupadd --gid 10001 holdfast \
  && useradd --uid 10001 --gid 10001 --home-dir /var/lib/holdfast --shell /usr/sbin/nologin --no-create-home holdfast \
  && install -d -o holdfast -g holdfast -m 0700 /var/lib/holdfast /var/cache/holdfast && install -d -m 0755 /etc/holdfast
COPY --from=build /out/node /usr/local/bin/node
COPY --from=build /out/holdfast /opt/holdfast
# `container`: here the host name changes with every start, so that the configuration has to name its host.
ENV PATH=/opt/holdfast/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  HOLDFAST_CONFIG=/etc/holdfast/config.yaml \
  STATE_DIRECTORY=/var/lib/holdfast \
  CACHE_DIRECTORY=/var/cache/holdfast \
  NODE_COMPILE_CACHE=/opt/holdfast/compile-cache \
  container=oci
# Compiled once, here: with a read-only root it could be kept nowhere, and every health check would compile anew.
RUN holdfast --version && { holdfast health --ready || true; } && { holdfast validate || true; } \
  && chmod -R a+rX /opt/holdfast/compile-cache
WORKDIR /var/lib/holdfast
USER 10001:10001
EXPOSE 9481
# The daemon answers and can work; what failed backups say is for /healthz, /metrics and notifications.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["holdfast", "health", "--ready"]
ENTRYPOINT ["/usr/bin/tini", "-s", "--", "holdfast"]
CMD ["daemon"]

FROM base AS tools
USER root
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-client mariadb-client sqlite3 \
  && rm -rf /var/lib/apt/lists/*
USER 10001:10001

FROM base AS runtime
