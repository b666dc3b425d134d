import Adapters
import TestSupport
import Testing

@Test func packOfAnotherProgramIsAnAdapter() throws {
    let packed = try AdapterDirectory.read(fixture("zstd/adapter.tspeft.zst"))
    let unpacked = try AdapterDirectory.read(fixture("peft/lora"))
    #expect(packed.configuration == unpacked.configuration && packed.modules == unpacked.modules)
    #expect(packed.allTensors.map(\.values) == unpacked.allTensors.map(\.values))
}

@Test func fileThatIsNoPackIsRefusedByName() {
    for path in ["zstd/plain.safetensors.zst", "formats/dtypes.safetensors"] {
        let error = #expect(throws: (any Error).self) { try AdapterDirectory.read(fixture(path)) }
        #expect(error.map { "\($0)".contains(path) } == true)
    }
}
