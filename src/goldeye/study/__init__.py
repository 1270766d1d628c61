"""The user study: which of two versions people prefer (HGGT §5.2), or opinion scores beside a reference (EDL's MOS).

`create` makes a study folder, `run` serves it on annotate's server and store, `results` and `chart` say what came out;
`statistics` holds the formulas. Import from the submodules: importing `goldeye.study` alone loads nothing.
"""
