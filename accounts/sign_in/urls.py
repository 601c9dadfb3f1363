"""Where people sign in, prove themselves, and look after their own account: before any tenant, so outside of the wall.

allauth has more pages than these. What is not named here is nowhere: no sign-up, no changing of addresses, no list of
third parties. Names are allauth's own, because it looks its pages up by them.
"""

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as recovery
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from allauth.socialaccount import views as social
from django.urls import path, re_path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts.sign_in import profile, single_sign_on, views
from accounts.sign_in.changes import as_one

entrance = [
    path("login/", account.LoginView.as_view(extra_context=views.WAYS_IN), name="account_login"),
    path("logout/", require_POST(account.logout), name="account_logout"),
    path("inactive/", account.account_inactive, name="account_inactive"),
    path("reauthenticate/", account.reauthenticate, name="account_reauthenticate"),
    path("password/change/", as_one(account.password_change), name="account_change_password"),
    path("password/set/", as_one(account.password_set), name="account_set_password"),
    path("password/reset/", account.password_reset, name="account_reset_password"),
    path("password/reset/done/", account.password_reset_done, name="account_reset_password_done"),
    path("password/reset/key/done/", account.password_reset_from_key_done, name="account_reset_password_from_key_done"),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        as_one(never_cache(account.password_reset_from_key)),
        name="account_reset_password_from_key",
    ),
    path("invitations/<str:token>/", views.invitation, name="invitation"),
    path("2fa/authenticate/", never_cache(mfa.authenticate), name="mfa_authenticate"),
    path("2fa/reauthenticate/", mfa.reauthenticate, name="mfa_reauthenticate"),
    path("2fa/totp/activate/", as_one(never_cache(totp.activate_totp)), name="mfa_activate_totp"),
    path("2fa/totp/deactivate/", as_one(totp.deactivate_totp), name="mfa_deactivate_totp"),
    path("2fa/recovery-codes/", never_cache(recovery.view_recovery_codes), name="mfa_view_recovery_codes"),
    path("2fa/recovery-codes/generate/", as_one(recovery.generate_recovery_codes), name="mfa_generate_recovery_codes"),
    path("2fa/webauthn/add/", as_one(never_cache(webauthn.add_webauthn)), name="mfa_add_webauthn"),
    path("2fa/webauthn/login/", never_cache(webauthn.login_webauthn), name="mfa_login_webauthn"),
    path(
        "2fa/webauthn/reauthenticate/",
        never_cache(webauthn.reauthenticate_webauthn),
        name="mfa_reauthenticate_webauthn",
    ),
    path("2fa/webauthn/keys/<int:pk>/edit/", as_one(webauthn.edit_webauthn), name="mfa_edit_webauthn"),
    path("2fa/webauthn/keys/<int:pk>/remove/", as_one(webauthn.remove_webauthn), name="mfa_remove_webauthn"),
    path("oidc/<slug:provider_id>/login/", single_sign_on.begin, name="openid_connect_login"),
    path("oidc/<slug:provider_id>/login/callback/", single_sign_on.callback, name="openid_connect_callback"),
    path("oidc/cancelled/", social.login_cancelled, name="socialaccount_login_cancelled"),
    path("oidc/error/", social.login_error, name="socialaccount_login_error"),
]

own_account = [
    path("", profile.profile, name="profile"),
    path("security/", profile.security, name="mfa_index"),
    path("security/", profile.security, name="mfa_list_webauthn"),  # where allauth goes from a passkey's pages
    path("sessions/", profile.sessions, name="sessions"),
    path("sessions/end/", profile.end_other_sessions, name="end-other-sessions"),
    path("sessions/<uuid:session_id>/end/", profile.end_session, name="end-session"),
]
