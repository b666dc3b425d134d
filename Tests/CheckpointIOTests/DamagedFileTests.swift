import CheckpointIO
import TestSupport
import Testing

/// A byte anywhere in the header may be anything: the file is read or refused, and nothing is read outside it (a trap
/// would end the test run).
@Test(arguments: ["formats/metadata.gguf", "formats/blocks.gguf", "formats/dtypes.safetensors"])
func damagedByteIsReadOrRefused(_ name: String) throws {
    try withTemporaryFolder { folder in
        let path = folder + "/" + name.split(separator: "/").last!
        let sound = try readFile(fixture(name))
        let headerEnd = try Checkpoint.open(fixture(name)).tensors.map(\.offset).min()!
        var refused = 0
        for place in 0..<headerEnd {
            for value in [0xFF, sound[place] ^ 1] as [UInt8] {
                var damaged = sound
                damaged[place] = value
                try writeFile(path, damaged)
                do {
                    let checkpoint = try Checkpoint.open(path)
                    for tensor in checkpoint.tensors where tensor.encoding.isReadable {
                        #expect(try checkpoint.floats(of: tensor).count == tensor.elementCount)
                    }
                } catch let error as CheckpointError {
                    refused += error.description.contains(path) ? 1 : 0
                }
            }
        }
        #expect(refused > headerEnd / 4)
    }
}
