"""Reading plates: real files in a temporary folder, written by OpenImageIO and OpenEXR."""
