//! What a program is compiled for: a chip, and the route by which its engine is reached.

use std::fmt;
use std::str::FromStr;

/// Generations of the engine, by the names that its compiler has for them (facts §1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// M1.
    A13,
    /// M2.
    A14,
    /// M3.
    A15,
    /// M4.
    A16,
    /// M5.
    A17,
}

macro_rules! chips {
    ($($variant:ident = $name:literal, $shown:literal, $family:ident, $cores:literal;)*) => {
        /// Apple's chips for Macs.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names of the chips say it")]
        pub enum Chip {
            $($variant,)*
            #[default]
            M4,
        }

        impl Chip {
            /// Every chip.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)* Self::M4];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::M4 => "m4",
                }
            }

            /// Its name as Apple writes it.
            pub const fn shown(self) -> &'static str {
                match self {
                    $(Self::$variant => $shown,)*
                    Self::M4 => "M4",
                }
            }

            /// The generation of its engine.
            pub const fn family(self) -> Family {
                match self {
                    $(Self::$variant => Family::$family,)*
                    Self::M4 => Family::A16,
                }
            }

            /// Cores of an engine, as its compiler counts them.
            pub const fn cores(self) -> u32 {
                match self {
                    $(Self::$variant => $cores,)*
                    Self::M4 => 4,
                }
            }
        }
    };
}

chips! {
    M1 = "m1", "M1", A13, 4;
    M1Pro = "m1-pro", "M1 Pro", A13, 8;
    M1Max = "m1-max", "M1 Max", A13, 8;
    M1Ultra = "m1-ultra", "M1 Ultra", A13, 8;
    M2 = "m2", "M2", A14, 4;
    M2Pro = "m2-pro", "M2 Pro", A14, 8;
    M2Max = "m2-max", "M2 Max", A14, 8;
    M2Ultra = "m2-ultra", "M2 Ultra", A14, 8;
    M3 = "m3", "M3", A15, 4;
    M3Pro = "m3-pro", "M3 Pro", A15, 8;
    M3Max = "m3-max", "M3 Max", A15, 8;
    M3Ultra = "m3-ultra", "M3 Ultra", A15, 8;
    M4Pro = "m4-pro", "M4 Pro", A16, 8;
    M4Max = "m4-max", "M4 Max", A16, 8;
    M5 = "m5", "M5", A17, 4;
    M5Pro = "m5-pro", "M5 Pro", A17, 8;
    M5Max = "m5-max", "M5 Max", A17, 16;
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Chip {
    type Err = String;

    /// Reads a name; `M4 Max`, `m4-max` and `M4Max` are the same.
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['-', ' ', '_'], "");
        let found = Self::ALL.iter().copied().find(|chip| plain(chip.name()) == plain(text));
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|chip| chip.name()).collect();
            format!("no chip is called {text:?}; known are {}", names.join(", "))
        })
    }
}

/// How a program comes to the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// Text to the private framework's in-memory model; facts call it path A.
    #[default]
    InMemory,
    /// The runtime beneath Core ML; facts call it path B.
    E5rt,
}

impl Route {
    /// Both.
    pub const ALL: [Self; 2] = [Self::InMemory, Self::E5rt];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InMemory => "in-memory",
            Self::E5rt => "e5rt",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|route| route.name() == text);
        found.ok_or_else(|| format!("no route is called {text:?}; known are in-memory and e5rt"))
    }
}

/// A chip and a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The chip.
    pub chip: Chip,
    /// The route.
    pub route: Route,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.chip, self.route)
    }
}
