"""Everything: the data plane's views, the management API under /v1, pages and the operators' admin.

What serves one tenant is walled: the database shows it no other. The data plane asks no database, the admin is for all
tenants, and who signs in has none yet.
"""

from django.contrib import admin
from django.urls import include, path

import accounts.urls
import console.urls
import gateway.urls
from nexus.documents import documentation, openapi_document
from nexus.tenancy import walled
from nexus.urls import runtime

handler400 = runtime.handler400
handler403 = runtime.handler403
handler404 = runtime.handler404
handler500 = runtime.handler500
handler429 = "nexus.http.too_many"  # of allauth

urlpatterns = [
    *runtime.urlpatterns,
    path("v1/openapi.json", openapi_document, name="openapi"),
    path("docs", documentation, name="documentation"),
    path("v1/", include(walled([*accounts.urls.api_urlpatterns, *gateway.urls.api_urlpatterns]))),
    *accounts.urls.admin_urlpatterns,
    path("admin/", admin.site.urls),
    path("", include([*accounts.urls.sign_in_urlpatterns, *console.urls.urlpatterns])),
    path("t/<slug:slug>/", include(walled([*accounts.urls.tenant_urlpatterns, *gateway.urls.tenant_urlpatterns]))),
    path("", include(walled(accounts.urls.urlpatterns))),
]
