"""The console's own addresses: the theme, and in development the UI kit."""

from django.urls import path

from console import views

urlpatterns = [
    path("theme/", views.choose_theme, name="theme"),
    path("ui-kit/", views.kit, name="ui-kit"),
    path("ui-kit/<slug:name>/", views.kit, name="ui-kit-page"),
]
