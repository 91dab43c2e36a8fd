//! The switch of a planted bug, in the code that is right without it.

/// Whether a test has planted this bug.
#[cfg(feature = "testing")]
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        $crate::testing::planted($crate::testing::PlantedBug::$bug)
    };
}

/// Never: the feature `testing` is off.
#[cfg(not(feature = "testing"))]
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}
