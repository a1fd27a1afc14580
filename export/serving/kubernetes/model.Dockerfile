# The model as an image, for the init container of deployment.yaml:
#   docker build -f export/serving/kubernetes/model.Dockerfile --build-arg NAME=digits-acet \
#     -t registry.example.com/digits-acet:1 RUN/export
FROM busybox:1.37
ARG NAME
COPY ${NAME} /models/${NAME}
USER 65534:65534
