# One image for web, worker and beat: `docker run IMAGE serve|worker|beat|migrate|...`
FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements/service.txt requirements/service.txt
RUN python -m venv /app && /app/bin/pip install --no-cache-dir --require-hashes -r requirements/service.txt
COPY pyproject.toml README.md LICENSE ./
COPY saleor_personalize saleor_personalize
RUN /app/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 personalize && mkdir /var/lib/personalize && chown personalize /var/lib/personalize
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH VAR_DIR=/var/lib/personalize HOST=0.0.0.0 PORT=8787 PYTHONUNBUFFERED=1
USER personalize
WORKDIR /var/lib/personalize
VOLUME /var/lib/personalize
EXPOSE 8787
# Not `/health/`: a broker that is down is no reason to end a process that takes webhooks.
HEALTHCHECK --interval=30s --timeout=5s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8787/health/ready/', timeout=4)"]
ENTRYPOINT ["saleor-personalize"]
CMD ["serve"]
