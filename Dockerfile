# syntax=docker/dockerfile:1
# Two binaries on a small Debian: `nazar` (the default) and `nazar-load`.
#
#   docker build -t nazar --build-arg REVISION="$(git rev-parse --short HEAD)" .
#   docker run --rm nazar --help

ARG DEBIAN=bookworm

FROM rust:1-slim-${DEBIAN} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Shown by nazar_build_info.
ARG REVISION=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    NAZAR_REVISION=${REVISION} cargo build --release --locked --bins \
    && mkdir /out \
    && cp target/release/nazar target/release/nazar-load /out/

FROM debian:${DEBIAN}-slim
# What librdkafka links to; the certificates are for rediss:// and Kafka over TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /usr/local/bin/
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/nazar/
# An id that no account of the host has. Nothing needs to be written but by nazar-load.
USER 65532:65532
# A container is reached from outside: the default is loopback.
ENV NAZAR__HTTP__LISTEN=0.0.0.0:9464
EXPOSE 9464
# Asks /livez: it does not depend on Kafka or Redis, so an outage there restarts nothing here.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["nazar", "probe"]
# SIGTERM, the default, drains: what was read is published before the exit.
ENTRYPOINT ["nazar"]
CMD ["run"]
