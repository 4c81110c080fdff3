# The image for those who have a container engine: `docker build --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) .`
# `make image` makes the same without one: the program of this file is built by the same tool, from the same Cargo.lock.
FROM rust:1.95-bookworm AS build
ARG SOURCE_DATE_EPOCH=0
WORKDIR /build
COPY . .
RUN cargo run --locked --package gtm-release -- image --target /out \
 && mkdir -p /layout /root-of-image \
 && tar -C /layout -xf /out/image/*.tar \
 && for blob in /layout/blobs/sha256/*; do tar -C /root-of-image -xzf "$blob" 2>/dev/null || true; done \
 && test -x /root-of-image/gtm

FROM scratch
COPY --from=build /root-of-image/ /
USER 65532:65532
ENTRYPOINT ["/gtm"]
CMD ["manager"]
