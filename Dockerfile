# The registry as a small image: Node, the published package, nothing to build with, no shell needed, no root.
#
#     docker build -t gantry .
#     docker run --read-only --tmpfs /tmp -v gantry:/data -p 5000:5000 gantry serve --allow-anonymous
#
# It listens on every address of its container, which `gantry serve` refuses as long as everyone could push: the flag above accepts that.
# Both bases may be given: what builds needs Node with npm, g++ and make; what runs needs Debian's libc.
ARG BUILD_BASE=node:24-bookworm
ARG RUN_BASE=debian:bookworm-slim

FROM ${BUILD_BASE} AS build
WORKDIR /src
COPY . .
RUN npm pack --pack-destination /tmp \
 && mkdir /package && tar -xzf /tmp/gantry-*.tgz -C /package --strip-components=1 \
 && cp package-lock.json .npmrc /package && cd /package && npm ci --omit=dev --no-audit --no-fund && rm .npmrc package-lock.json \
 && install -d /image/opt /image/usr/local/bin && install -d -o 65532 -g 65532 /image/data \
 && mv /package /image/opt/gantry && ln -s /opt/gantry/dist/native/build/gantry /image/usr/local/bin/gantry \
 && install /src/node_modules/node/bin/node /image/usr/local/bin/node

FROM ${RUN_BASE}
COPY --from=build /image/ /
ENV NODE_ENV=production GANTRY_LISTEN=0.0.0.0:5000 GANTRY_DATA=/data
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.GANTRY_LISTEN.split(':').at(-1)}/v2/`).then(({ status }) => process.exit(status < 500 ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["gantry"]
CMD ["serve"]
