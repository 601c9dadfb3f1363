"""The data plane's paths as Django views. In front of them stands the runtime door, where the server is ours."""

from django.urls import path, re_path

from gateway.schema import Endpoint
from gateway.streaming import metrics_request, model_request, small_request

handler400 = "nexus.http.bad_request"
handler403 = "nexus.http.forbidden"
handler404 = "nexus.http.not_found"
handler500 = "nexus.http.server_error"

urlpatterns = [
    *(path(f"v1/{endpoint.value}", model_request, {"endpoint": endpoint}) for endpoint in Endpoint),
    path("v1/models", small_request),
    re_path(r"^v1/models/.+$", small_request),
    path("healthz", small_request),
    path("readyz", small_request),
    path("metrics", metrics_request),
]
