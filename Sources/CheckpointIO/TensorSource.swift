import TensorCore

/// Named tensors in mapped files: one safetensors file, or all files of a checkpoint.
package protocol TensorSource {
    /// The path as it was given, for errors.
    var path: String { get }

    /// The tensor called `name`.
    func record(_ name: String) -> TensorRecord?

    /// The mapped file that holds a tensor.
    func mapping(of record: TensorRecord) -> MappedFile
}

extension TensorSource {
    /// The tensor called `name`; throws `missingTensor`.
    package func requiredRecord(_ name: String) throws(CheckpointError) -> TensorRecord {
        guard let record = record(name) else { throw .missingTensor(file: path, tensor: name) }
        return record
    }

    /// Lends a tensor's bytes as stored, at any alignment, to `body`; the pointer must not leave it. Throws what
    /// `MappedFile.withBytes(in:)` throws.
    package func withBytes<R>(of record: TensorRecord, _ body: (UnsafeRawBufferPointer) throws -> R) throws -> R {
        try mapping(of: record).withBytes(in: record.byteRange, body)
    }

    /// Decodes rows of the first axis (nil is the whole tensor) to floats, row-major.
    ///
    /// `destination` must have exactly as many elements. Throws `unsupportedEncoding`.
    package func readFloats(
        of record: TensorRecord, rows: Range<Int>? = nil, into destination: UnsafeMutableBufferPointer<Float>
    ) throws(CheckpointError) {
        let file = mapping(of: record)
        let stored = record.storedRange(rows: rows)
        let start = record.offset + stored.bytes.lowerBound
        let range = start..<start + stored.bytes.count
        try file.hold(range)
        defer { file.release(range) }
        // A closure that throws a typed error through a rethrowing function loses the type: carry it in a Result.
        let outcome = file.withBytes { bytes in
            Result { () throws(CheckpointError) in
                try record.decode(
                    stored, from: UnsafeRawBufferPointer(rebasing: bytes[range]), file: file.path, into: destination)
            }
        }
        try outcome.get()
    }

    /// A whole tensor as floats, row-major; throws `unsupportedEncoding`.
    package func floats(of record: TensorRecord) throws(CheckpointError) -> [Float] {
        var failure: CheckpointError?
        let count = record.elementCount
        let values = [Float](unsafeUninitializedCapacity: count) { buffer, filled in
            do throws(CheckpointError) {
                try readFloats(of: record, into: UnsafeMutableBufferPointer(rebasing: buffer[..<count]))
                filled = count
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return values
    }
}

extension [TensorRecord] {
    /// The place of each name; of equal names the first.
    var placesByName: NameTable<Int> {
        NameTable(enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
    }
}
