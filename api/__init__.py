"""HTTP: routes, schemas, errors, uploads, the client and the commands `serve` and `submit`; never torch."""
