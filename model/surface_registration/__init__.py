"""Registration of two surfaces of one structure: a vertex of the atlas to where it lies on the patient's surface."""
