import TensorCore

/// One safetensors file, mapped, with a header that has passed every check of the format.
package struct SafetensorsFile: Sendable {
    /// The path as it was given.
    package var path: String { file.path }
    /// The tensors in the order of their bytes in the file; `fileIndex` is 0.
    package let tensors: [TensorRecord]
    /// The `__metadata__` entries in the header's order.
    package let metadata: [(key: String, value: String)]
    let file: MappedFile
    private let index: [String: Int]

    /// Opens `path` and checks its header.
    package static func open(_ path: String) throws(CheckpointError) -> SafetensorsFile {
        try open(path, fileIndex: 0)
    }

    static func open(_ path: String, fileIndex: Int) throws(CheckpointError) -> SafetensorsFile {
        let file = try MappedFile.open(path)
        // A closure that throws a typed error through a rethrowing function loses the type: carry it in a Result.
        let header = file.withBytes { bytes in
            Result { () throws(CheckpointError) in
                try SafetensorsHeader(file: path, fileIndex: fileIndex, bytes: bytes)
            }
        }
        return SafetensorsFile(file: file, header: try header.get())
    }

    private init(file: MappedFile, header: SafetensorsHeader) {
        self.file = file
        tensors = header.tensors
        metadata = header.metadata
        index = Dictionary(
            header.tensors.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// The tensor called `name`.
    package func record(_ name: String) -> TensorRecord? {
        index[name].map { tensors[$0] }
    }

    /// The tensor called `name`; throws `missingTensor`.
    package func requiredRecord(_ name: String) throws(CheckpointError) -> TensorRecord {
        guard let record = record(name) else { throw .missingTensor(file: path, tensor: name) }
        return record
    }

    /// Lends a tensor's bytes, at any alignment, to `body`; the pointer must not leave it.
    package func withBytes<R>(of record: TensorRecord, _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try file.withBytes { try body(UnsafeRawBufferPointer(rebasing: $0[record.byteRange])) }
    }

    /// Decodes rows of the first axis (nil is the whole tensor) to floats; throws `unsupportedEncoding`.
    package func readFloats(
        of record: TensorRecord, rows: Range<Int>? = nil, into destination: UnsafeMutableBufferPointer<Float>
    ) throws(CheckpointError) {
        let outcome = withBytes(of: record) { bytes in
            Result { () throws(CheckpointError) in
                try record.decode(rows: rows, from: bytes, file: path, into: destination)
            }
        }
        try outcome.get()
    }

    /// A whole tensor as floats, row-major; throws `unsupportedEncoding`.
    package func floats(of record: TensorRecord) throws(CheckpointError) -> [Float] {
        try decodedArray(count: record.elementCount) { (buffer) throws(CheckpointError) in
            try readFloats(of: record, into: buffer)
        }
    }
}

/// An array that `fill` has filled.
func decodedArray(
    count: Int, _ fill: (UnsafeMutableBufferPointer<Float>) throws(CheckpointError) -> Void
) throws(CheckpointError) -> [Float] {
    var failure: CheckpointError?
    let values = [Float](unsafeUninitializedCapacity: count) { buffer, filled in
        do throws(CheckpointError) {
            try fill(UnsafeMutableBufferPointer(rebasing: buffer[..<count]))
            filled = count
        } catch {
            failure = error
        }
    }
    if let failure { throw failure }
    return values
}
