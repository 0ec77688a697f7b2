//! Who saw what: keys of the sources that rules name.

/// Key and source.
pub const SOURCES: &[(&str, &str)] = &[
    ("AF", "ANEForge 0.4.0 (arXiv:2606.17090)"),
    ("CT", "coremltools source"),
    ("EY", "Eileen Yoon, \"ane-dma\", and an independent repetition on M4"),
    ("ES", "christopherkarani/Espresso"),
    ("FG", "skyfallsin's field guide and ANE-LM fork (M3 Max)"),
    ("GD", "sbryngelson/ane-guide (arXiv:2606.22283)"),
    ("IT", "imperatormk/ane-train (M1)"),
    ("LM", "johnmai-dev/ANE-LM"),
    ("LR", "luengnat/rustane docs/ane_constraints.md"),
    ("LS", "measurement notes on a Mac mini M4"),
    ("AI", "thebasedcapital/ane-infer (M5)"),
    ("FL", "FluidInference/FluidAudio issue 738"),
    ("MD", "maderix/ANE, its issues and articles"),
    ("OR", "mechramc/Orion docs/ane_constraints.md"),
    ("OX", "jundot/omlx pull requests"),
    ("PG", "openai/parameter-golf PR 801 (M4 Pro)"),
    ("RN", "cyberia-to/rane"),
    ("RU", "ncdrone and jackzampolin, rustane results and issues"),
    ("SEED", "the description that Orion began from"),
    ("SH", "kasper0406/stablehlo-coreml PR 110 (M4)"),
    ("SK", "mutable-state/autoresearch-ane"),
    ("TM", "tmc/apple x/ane"),
];
