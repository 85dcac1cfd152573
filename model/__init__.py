"""The science, usable without any service: geometry, volumes, meshes, atlas, registration, training, command line."""
