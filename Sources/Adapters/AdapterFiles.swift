import CheckpointIO

/// The files of an adapter: those in a directory, or those in a pack (`.tspeft.zst`).
package struct AdapterFiles: Sendable {
    /// The directory or the pack, as given.
    package let path: String
    /// The pack; nil for a directory.
    package let pack: FilePack?

    /// The names of the files that make up an adapter, as a pack holds them; of these a directory has two or more.
    package static let names = [
        PEFTNames.configurationFile, PEFTNames.recordFile, PEFTNames.modelCardFile, PEFTNames.tensorFile,
        PEFTNames.statisticsFile,
    ]

    /// The files at `path`; throws `missing` where nothing is, and what opening a pack throws.
    package init(_ path: String) throws(CheckpointError) {
        let kind = pathKind(path)
        guard kind != .nothing else { throw .nothing(at: path) }
        self.path = path
        pack = try FilePack.isPack(path) ? try FilePack.open(path) : nil
        guard kind != .regularFile || pack != nil else {
            throw .malformed(
                file: path, problem: "is neither an adapter's directory nor a pack of one, which Zstandard makes")
        }
    }

    /// Whether there is a file called `name`.
    package func has(_ name: String) -> Bool {
        if let pack { pack.entry(name) != nil } else { pathKind(place(of: name)) != .nothing }
    }

    /// What messages call the file `name`; in a directory, where it lies.
    package func place(of name: String) -> String { joinedPath(path, name) }

    /// The whole of a small file; throws as `readSmallFile`.
    package func bytes(_ name: String, limit: Int) throws(CheckpointError) -> [UInt8] {
        if let pack { try pack.bytes(name, limit: limit) } else { try readSmallFile(place(of: name), limit: limit) }
    }

    /// A safetensors file; throws as `SafetensorsFile.open`.
    package func tensors(_ name: String) throws(CheckpointError) -> SafetensorsFile {
        if let pack { try pack.safetensors(name) } else { try SafetensorsFile.open(place(of: name)) }
    }
}
