import Adapters
import CheckpointIO
import Threads
import Transforms

/// What packing an adapter did.
package struct PackReport: Sendable, Equatable {
    /// The files in the pack, in its order.
    package let packed: [String]
    /// Files of the directory that are no part of an adapter, such as a training's state and log, sorted.
    package let leftOut: [String]
    /// Bytes of the packed files together.
    package let contentBytes: Int
    /// Bytes of the pack.
    package let packBytes: Int
}

/// Packs the adapter in `directory` into one file, usually named `*.tspeft.zst`, which can be used wherever the
/// directory can. The same adapter gives the same bytes.
///
/// Throws what reading the adapter throws, so that only a sound one is packed, and what writing throws.
package func packAdapter(
    _ directory: String, to output: OutputTarget, level: Int = SeekableZstdWriter.defaultLevel,
    threadCount: Int = ThreadTeam.available
) throws -> PackReport {
    let adapter = try AdapterDirectory.read(directory)
    let files = try AdapterFiles(directory)
    guard files.pack == nil else { throw WorkflowError.conflict("\(directory): is packed already") }
    try checkOutput(output.path, keeps: [directory])
    let names = AdapterFiles.names.filter {
        // Old statistics may lie there without a record that mentions them.
        files.has($0) && ($0 != PEFTNames.statisticsFile || adapter.statistics != nil)
    }
    try FilePack.write(
        names, in: directory, to: AtomicFileWriter(output), level: level, threadCount: threadCount)
    let pack = try FilePack.open(output.path)
    return PackReport(
        packed: names, leftOut: directoryEntries(directory).filter { !names.contains($0) },
        contentBytes: pack.entries.reduce(0) { $0 + $1.byteCount }, packBytes: pack.packedByteCount)
}

/// Unpacks an adapter's pack into the new directory `output`, which appears complete or not at all. Throws what reading
/// the adapter throws, for one that is not sound, and what writing throws; `unsuitableData` for a pack with files that
/// are no part of an adapter, and `tooLarge` for texts over `textLimit`: a small pack could fill a disk with them.
package func unpackAdapter(
    _ path: String, to output: OutputTarget, threadCount: Int = ThreadTeam.available
) throws -> PackReport {
    guard let pack = try AdapterFiles(path).pack else {
        throw WorkflowError.unsuitableData(path: path, problem: "is not a pack of an adapter")
    }
    try checkContents(pack)
    _ = try AdapterDirectory.read(path)
    try checkOutput(output.path, keeps: [path])
    let directory = try AtomicDirectory(output)
    try pack.unpack(into: directory, threadCount: threadCount)
    try pack.checkUnchanged()
    try directory.commit()
    return PackReport(
        packed: pack.entries.map(\.name), leftOut: [], contentBytes: pack.entries.reduce(0) { $0 + $1.byteCount },
        packBytes: pack.packedByteCount)
}

/// Bytes of a JSON file or a model card that are unpacked.
private let textLimit = 64 << 20

private func checkContents(_ pack: FilePack) throws {
    for entry in pack.entries {
        guard AdapterFiles.names.contains(entry.name) else {
            throw WorkflowError.unsuitableData(
                path: pack.path,
                problem: "holds '\(entry.name)', which is no part of an adapter; unpack it with zstd -d and tar -x")
        }
        guard entry.name.hasSuffix(".safetensors") || entry.byteCount <= textLimit else {
            throw CheckpointError.tooLarge(path: pack.displayPath(entry.name), limit: textLimit)
        }
    }
}
