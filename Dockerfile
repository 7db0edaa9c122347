# The indexer in a small image:
#
#   docker build -t btkn-indexer .
#   mkdir -p ~/btkn-data
#   docker run --rm --network host --user "$(id -u):$(id -g)" \
#       -v ~/btkn-data:/data -v ~/.bitcoin:/bitcoin:ro btkn-indexer run --bitcoin-dir /bitcoin
#
# As the user whose node it is, because block files and cookie are for that user alone, and in the
# network of the host, where the node listens. A node elsewhere needs neither:
#
#   docker run --rm -p 127.0.0.1:3080:3080 -v btkn-data:/data -e BTKN_RPC_USER -e BTKN_RPC_PASSWORD \
#       btkn-indexer run --listen 0.0.0.0:3080 --rpc-url http://<node>:8332
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends clang libclang-dev g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin btkn

FROM debian:bookworm-slim
RUN useradd --system --uid 3080 --home-dir /data --no-create-home btkn \
    && install -d -o btkn -g btkn /data
COPY --from=build /src/target/release/btkn /usr/local/bin/btkn
COPY --from=build /src/LICENSE /usr/local/share/doc/btkn-indexer/LICENSE
USER btkn
ENV BTKN_DATA_DIR=/data
VOLUME /data
EXPOSE 3080
STOPSIGNAL SIGINT
ENTRYPOINT ["btkn"]
CMD ["run"]
