"""Where accounts answers: JSON under /v1 without trailing slash, pages with one, a tenant's under /t/<slug>/."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from accounts import api, views

api_urlpatterns = [
    path("keys", api.KeyList.as_view(), name="api-keys"),
    path("keys/<uuid:key_id>", api.KeyDetail.as_view(), name="api-key"),
    path("keys/<uuid:key_id>/rotate", api.KeyRotation.as_view(), name="api-key-rotation"),
    path("members", api.MemberList.as_view(), name="api-members"),
    path("members/<uuid:member_id>", api.MemberDetail.as_view(), name="api-member"),
    path("settings", api.TenantSettings.as_view(), name="api-settings"),
    path("audit", api.AuditLog.as_view(), name="api-audit"),
]

tenant_urlpatterns = [path("palette/", views.palette_search, name="palette")]
urlpatterns = [path("", views.home, name="home")]

# Signing in comes before any tenant, and so before the wall between them (nexus/tenancy.py).
sign_in_urlpatterns = [
    path("accounts/login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
]
