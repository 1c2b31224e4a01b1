use catga_memorypack::MemoryPack;

#[derive(MemoryPack)]
#[repr(C)]
struct Nothing {}

#[derive(MemoryPack)]
#[repr(C, packed)]
struct Packed {
    id: i32,
}

#[derive(MemoryPack)]
#[repr(C)]
struct Skipping {
    id: i32,
    #[memorypack(skip)]
    seen: bool,
}

#[derive(MemoryPack)]
#[repr(C)]
#[memorypack(version_tolerant)]
struct TwoModes {
    id: i32,
}

fn main() {}
