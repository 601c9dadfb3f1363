"""Everything: the data plane's views, the management API under /v1, pages and the operators' admin."""

from django.contrib import admin
from django.urls import include, path

import accounts.urls
import gateway.urls
from nexus.urls import runtime

handler400 = runtime.handler400
handler403 = runtime.handler403
handler404 = runtime.handler404
handler500 = runtime.handler500

urlpatterns = [
    *runtime.urlpatterns,
    path("v1/", include([*accounts.urls.api_urlpatterns, *gateway.urls.api_urlpatterns])),
    path("admin/", admin.site.urls),
    path("", include([*accounts.urls.urlpatterns, *gateway.urls.urlpatterns])),
]
