//! Empty: this package only names the plugins to build.
