"""The gateway's management API, relative to `v1/`, and its pages, relative to `t/<slug>/`."""

from django.urls import path

from gateway.api_providers import CircuitList, ProviderCircuitState, ProviderDetail, ProviderList, ProviderTest
from gateway.api_requests import RequestDetail, RequestList
from gateway.key_pages import key_detail, key_edit, key_first, key_list, key_new, key_revoke, key_rotate
from gateway.provider_pages import (
    provider_circuit,
    provider_delete,
    provider_detail,
    provider_edit,
    provider_list,
    provider_new,
    provider_switch,
    provider_test,
)
from gateway.request_pages import request_detail, request_list
from gateway.views import overview

api_urlpatterns = [
    path("providers", ProviderList.as_view()),
    path("providers/<uuid:provider_id>", ProviderDetail.as_view()),
    path("providers/<uuid:provider_id>/test", ProviderTest.as_view()),
    path("providers/<uuid:provider_id>/circuit", ProviderCircuitState.as_view()),
    path("circuits", CircuitList.as_view()),
    path("requests", RequestList.as_view()),
    path("requests/<uuid:request_id>", RequestDetail.as_view()),
]
tenant_urlpatterns = [
    path("", overview, name="overview"),
    path("requests/", request_list, name="requests"),
    path("requests/<uuid:request_id>/", request_detail, name="request"),
    path("providers/", provider_list, name="providers"),
    path("providers/new/", provider_new, name="provider-new"),
    path("providers/<uuid:provider_id>/", provider_detail, name="provider"),
    path("providers/<uuid:provider_id>/edit/", provider_edit, name="provider-edit"),
    path("providers/<uuid:provider_id>/test/", provider_test, name="provider-test"),
    path("providers/<uuid:provider_id>/circuit/", provider_circuit, name="provider-circuit"),
    path("providers/<uuid:provider_id>/switch/", provider_switch, name="provider-switch"),
    path("providers/<uuid:provider_id>/delete/", provider_delete, name="provider-delete"),
    path("keys/", key_list, name="keys"),
    path("keys/new/", key_new, name="key-new"),
    path("keys/<uuid:key_id>/", key_detail, name="key"),
    path("keys/<uuid:key_id>/edit/", key_edit, name="key-edit"),
    path("keys/<uuid:key_id>/rotate/", key_rotate, name="key-rotate"),
    path("keys/<uuid:key_id>/revoke/", key_revoke, name="key-revoke"),
    path("keys/<uuid:key_id>/first/", key_first, name="key-first"),
]
