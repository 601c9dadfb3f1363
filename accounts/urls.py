"""Where accounts answers: JSON under /v1 without trailing slash, pages with one, a tenant's under /t/<slug>/."""

from django.urls import include, path
from django.views.generic import RedirectView

from accounts import api, api_invitations, audit_pages, member_pages, settings_pages, views
from accounts.sign_in.urls import entrance, own_account

api_urlpatterns = [
    path("keys", api.KeyList.as_view(), name="api-keys"),
    path("keys/<uuid:key_id>", api.KeyDetail.as_view(), name="api-key"),
    path("keys/<uuid:key_id>/rotate", api.KeyRotation.as_view(), name="api-key-rotation"),
    path("members", api.MemberList.as_view(), name="api-members"),
    path("members/<uuid:member_id>", api.MemberDetail.as_view(), name="api-member"),
    path("invitations", api_invitations.InvitationList.as_view(), name="api-invitations"),
    path("invitations/<uuid:invitation_id>", api_invitations.InvitationDetail.as_view(), name="api-invitation"),
    path("invitations/<uuid:invitation_id>/resend", api_invitations.InvitationAgain.as_view(), name="api-resend"),
    path("settings", api.TenantSettings.as_view(), name="api-settings"),
    path("audit", api.AuditLog.as_view(), name="api-audit"),
]

tenant_urlpatterns = [
    path("palette/", views.palette_search, name="palette"),
    path("members/", member_pages.member_list, name="members"),
    path("members/invite/", member_pages.invite, name="member-invite"),
    path("members/<uuid:member_id>/role/", member_pages.change_role, name="member-role"),
    path("members/<uuid:member_id>/remove/", member_pages.remove_member, name="member-remove"),
    path("members/invitations/<uuid:invitation_id>/again/", member_pages.invite_again, name="invitation-again"),
    path("members/invitations/<uuid:invitation_id>/revoke/", member_pages.revoke_invitation, name="invitation-revoke"),
    path("audit/", audit_pages.audit_list, name="audit"),
    path("audit/<uuid:event_id>/", audit_pages.audit_detail, name="audit-event"),
    path("settings/", settings_pages.tenant_settings, name="settings"),
    path("settings/gitops-secret/", settings_pages.gitops_secret, name="gitops-secret"),
]
urlpatterns = [path("", views.home, name="home")]

# Signing in comes before any tenant, and so before the wall between them (nexus/tenancy.py).
sign_in_urlpatterns = [
    path("accounts/", include(entrance)),
    path("profile/", include(own_account)),
]

# The operators' admin has no doors of its own: a password alone would open them, past the second factor.
admin_urlpatterns = [
    path("admin/login/", views.admin_sign_in),
    path("admin/logout/", RedirectView.as_view(pattern_name="home")),
    path("admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
    path("admin/password_change/done/", RedirectView.as_view(pattern_name="mfa_index")),
]
