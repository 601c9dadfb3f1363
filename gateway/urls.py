"""The gateway's management API, relative to `v1/`, and its pages, relative to `t/<slug>/`."""

from django.urls import path

from gateway.api_providers import CircuitList, ProviderDetail, ProviderList, ProviderTest
from gateway.api_requests import RequestDetail, RequestList
from gateway.request_pages import request_detail, request_list
from gateway.views import overview

api_urlpatterns = [
    path("providers", ProviderList.as_view()),
    path("providers/<uuid:provider_id>", ProviderDetail.as_view()),
    path("providers/<uuid:provider_id>/test", ProviderTest.as_view()),
    path("circuits", CircuitList.as_view()),
    path("requests", RequestList.as_view()),
    path("requests/<uuid:request_id>", RequestDetail.as_view()),
]
tenant_urlpatterns = [
    path("", overview, name="overview"),
    path("requests/", request_list, name="requests"),
    path("requests/<uuid:request_id>/", request_detail, name="request"),
]
