"""Model bundles: one directory holds one model. Nothing in here imports torch."""

from model.bundle.bundle import Bundle, check_takes_images, load_bundle, verify_bundle
from model.bundle.find import DEFAULT_BUNDLE, bundle_names, default_checkpoints, find_bundle, list_bundles
from model.bundle.manifest_file import bundle_digest, read_manifest
from model.bundle.schema import BundleDescription, BundleManifest
from model.bundle.write import add_files, write_bundle

__all__ = [
    "DEFAULT_BUNDLE",
    "Bundle",
    "BundleDescription",
    "BundleManifest",
    "add_files",
    "bundle_digest",
    "bundle_names",
    "check_takes_images",
    "default_checkpoints",
    "find_bundle",
    "list_bundles",
    "load_bundle",
    "read_manifest",
    "verify_bundle",
    "write_bundle",
]
