"""The address of the form, and the address that the site has by its own account."""

from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.urls import path


def form(request):
    """The form's token on GET; on POST the address that Django builds."""
    if request.method == "GET":
        return HttpResponse(get_token(request))
    return HttpResponse(request.build_absolute_uri("/"))


urlpatterns = [path("form", form)]
