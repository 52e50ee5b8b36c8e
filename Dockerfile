# A site or a coordinator as a container: docker build -t federation .  (docs/operate.md, "As a container")
#
# What is installed is what constraints.txt pins. From PyPI alone pip takes PyTorch's build for CUDA, which is several
# gigabytes; name PyTorch's index of CPU builds by --build-arg PIP_EXTRA_INDEX_URL=... and it takes that one.
ARG BASE=python:3.11.13-slim-bookworm

FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# For files other than CSV and for databases: --build-arg EXTRAS=[tables]
ARG EXTRAS=
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY privacy privacy
COPY federation federation
COPY clients clients
COPY server server
COPY simulations simulations
RUN python3 -m venv /opt/federation \
 && /opt/federation/bin/python -m pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt ".${EXTRAS}" \
 && /opt/federation/bin/python -m pip uninstall --yes --quiet --disable-pip-version-check pip

FROM ${BASE}
# The number is part of the contract: whoever mounts a folder gives it to this user.
RUN groupadd --gid 10001 federation \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/federation --shell /usr/sbin/nologin federation \
 && install -d -o federation -g federation -m 700 /var/lib/federation
COPY --from=build /opt/federation /opt/federation
ENV PATH=/opt/federation/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
# site.toml, keys, journal and data; or plan, roster and the state folder of a coordinator.
WORKDIR /var/lib/federation
ENTRYPOINT ["federation"]
CMD ["--help"]
