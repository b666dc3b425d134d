import TensorCore

/// One safetensors file, mapped, with a header that has passed every check of the format.
package struct SafetensorsFile: TensorSource, Sendable {
    package var path: String { file.path }
    /// Bytes of the whole file, unpacked.
    package var byteCount: Int { file.byteCount }
    /// The tensors in the order of their bytes in the file; `fileIndex` is 0.
    package let tensors: [TensorRecord]
    /// The `__metadata__` entries in the header's order.
    package let metadata: [(key: String, value: String)]
    /// The file's mapping.
    package let file: MappedFile
    private let index: NameTable<Int>

    /// Opens `path` and checks its header.
    package static func open(_ path: String) throws(CheckpointError) -> SafetensorsFile {
        try open(path, fileIndex: 0)
    }

    static func open(_ path: String, fileIndex: Int) throws(CheckpointError) -> SafetensorsFile {
        var file = try MappedFile.open(path)
        if file.withBytes(SeekableZstdFile.isZstandard) {
            let packed = try SeekableZstdFile(file)
            file = try MappedFile.unpacking(packed, 0..<packed.byteCount, path: path)
        }
        return try SafetensorsFile(file, fileIndex: fileIndex)
    }

    /// Checks the header of `file`, of which no more is unpacked than that.
    init(_ file: MappedFile, fileIndex: Int = 0) throws(CheckpointError) {
        let header = 0..<(try SafetensorsHeader.end(in: file))
        try file.hold(header)
        defer { file.release(header) }
        // A closure that throws a typed error through a rethrowing function loses the type: carry it in a Result.
        let outcome = file.withBytes { bytes in
            Result { () throws(CheckpointError) in
                try SafetensorsHeader(file: file.path, fileIndex: fileIndex, bytes: bytes)
            }
        }
        self.init(file: file, header: try outcome.get())
    }

    private init(file: MappedFile, header: SafetensorsHeader) {
        self.file = file
        // No larger than it is: an array that grew has room for twice as many.
        tensors = header.tensors.map { $0 }
        metadata = header.metadata
        index = header.tensors.placesByName
    }

    package func record(_ name: String) -> TensorRecord? {
        index[name].map { tensors[$0] }
    }

    /// The place of a tensor in the list.
    package func place(of name: String) -> Int? { index[name] }

    package func mapping(of record: TensorRecord) -> MappedFile { file }
}
