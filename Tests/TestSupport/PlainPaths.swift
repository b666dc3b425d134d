import CheckpointIO

extension SafetensorsWriter {
    /// Writes a whole file of float tensors to `path`, in the order given.
    package static func write(
        _ tensors: [(name: String, shape: [Int], values: [Float])], to path: String,
        metadata: [(key: String, value: String)] = SafetensorsWriter.pyTorchMetadata, replacing: Bool = false
    ) throws(CheckpointError) {
        let file = try AtomicFileWriter(OutputTarget(path, replacing: replacing))
        try write(tensors, to: file, metadata: metadata)
    }
}
