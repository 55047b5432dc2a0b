//! x
pub mod bindings;
pub mod host { 
    pub struct HostError;
    pub mod series { pub struct Scan; }
    pub mod retention { pub struct Cursor; }
}
