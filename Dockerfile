# One image for each program; that of busd is the last, and has no shell, nor anything else but busd:
#
#   docker build --tag modulebus/busd:local .
#   docker build --target demo-module --tag modulebus/demo-module:local .
#
# A module that busd shall start is copied into an image made from it, with all that it needs; other modules have images of their own.

# Go's standard library is part of busd: build with its newest release (--build-arg GO=…), see SECURITY.md.
ARG GO=1.26.8
FROM golang:${GO}-alpine3.24 AS build
WORKDIR /src
ENV GOCACHE=/go/build
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/go/build \
    CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /out/ ./cmd/busd ./cmd/demo-module
RUN install -d -m 1777 /rootfs/tmp && install -d -m 0700 /rootfs/state /rootfs/state/keys /rootfs/state/users \
    && echo 'modulebus:x:10001:10001::/var/lib/modulebus:/nonexistent' >/rootfs/passwd

FROM alpine:3.24 AS runtime
RUN adduser -D -H -u 10001 modulebus && install -d -m 0700 -o 10001 -g 10001 /var/lib/modulebus /var/lib/modulebus/keys /var/lib/modulebus/users
USER 10001:10001

# A module has no port of its own: it is well while it is connected to NATS.
FROM runtime AS demo-module
COPY --from=build /out/demo-module /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s --retries=3 \
    CMD ["sh", "-c", "netstat -tn | grep -q ':4222 .*ESTABLISHED'"]
ENTRYPOINT ["demo-module"]

# What makes keys and files before busd is there, in a script.
FROM runtime AS setup
COPY --from=build /out/busd /usr/local/bin/
ENV STATE_DIRECTORY=/var/lib/modulebus
ENTRYPOINT ["sh", "-euc"]

# busd is the first process here, and waits for what modules leave behind: no init beside it is needed.
FROM scratch AS busd
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /rootfs/passwd /etc/passwd
COPY --from=build --chmod=1777 /rootfs/tmp /tmp
COPY --from=build --chown=10001:10001 /rootfs/state /var/lib/modulebus
COPY --from=build /out/busd /usr/local/bin/busd
USER 10001:10001
ENV PATH=/usr/local/bin STATE_DIRECTORY=/var/lib/modulebus
VOLUME /var/lib/modulebus
EXPOSE 8010
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s --retries=3 CMD ["busd", "health"]
ENTRYPOINT ["busd"]
CMD ["serve", "--config", "/etc/modulebus/busd.yaml"]
