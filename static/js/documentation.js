// Shows the OpenAPI document. Nothing is fetched from elsewhere, and a key that is typed in is not kept.
"use strict";
const place = document.getElementById("documentation");
SwaggerUIBundle({
  url: place.dataset.document,
  domNode: place,
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  persistAuthorization: false,
  validatorUrl: null, // would ask a server on the internet what it thinks of the document
});
