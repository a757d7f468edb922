# One image for each program:
#
#   docker build --target busd --tag modulebus/busd:local .
#   docker build --target demo-module --tag modulebus/demo-module:local .

FROM golang:1.26.8-alpine3.24 AS build
WORKDIR /src
ENV GOCACHE=/go/build
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/go/build \
    CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /out/ ./cmd/busd ./cmd/demo-module

FROM alpine:3.24 AS runtime
RUN adduser -D -H -u 10001 modulebus && install -d -m 0700 -o 10001 -g 10001 /var/lib/modulebus /var/lib/modulebus/keys /var/lib/modulebus/users
USER 10001:10001

# A module has no port of its own: it is well while it is connected to NATS.
FROM runtime AS demo-module
COPY --from=build /out/demo-module /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s --retries=3 \
    CMD ["sh", "-c", "netstat -tn | grep -q ':4222 .*ESTABLISHED'"]
ENTRYPOINT ["demo-module"]

# busd is the first process here, and waits for what modules leave behind: no init beside it is needed.
FROM runtime AS busd
COPY --from=build /out/busd /usr/local/bin/
ENV STATE_DIRECTORY=/var/lib/modulebus
VOLUME /var/lib/modulebus
EXPOSE 8010
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s --retries=3 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8010/healthz"]
ENTRYPOINT ["busd"]
CMD ["serve", "--config", "/etc/modulebus/busd.yaml"]
