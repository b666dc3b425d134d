import Glibc
import TensorCore
import Threads

/// A few files in one: a POSIX archive (`ustar`) in Zstandard frames with a seek table, so that `zstd -d` and `tar -x`
/// unpack it, and each file, and each tensor of a safetensors file in it, can be read without the others.
package final class FilePack: Sendable {
    /// A file in the pack.
    package struct Entry: Sendable, Equatable {
        /// A plain name.
        package let name: String
        /// Its bytes in the archive.
        let range: Range<Int>

        /// Bytes of the file.
        package var byteCount: Int { range.count }
    }

    /// The ending of a pack's name.
    package static let suffix = ".tspeft.zst"
    /// Files in a pack at most, for those who make one.
    package static let entryLimit = 16
    /// Bytes of content of a frame at most. Each file's header may need a frame of its own, so that this and
    /// `entryLimit` bound the work of opening a pack.
    private static let frameLimit = 4 << 20
    /// Zeros after the last file at most: two blocks are the rule, and some programs fill up a record of 20.
    private static let endLimit = 32 * ArchiveHeader.blockSize

    /// The files, in the order of the archive.
    package let entries: [Entry]
    private let packed: SeekableZstdFile

    /// The path as it was given.
    package var path: String { packed.path }

    /// Bytes of the packed file.
    package var packedByteCount: Int { packed.source.byteCount }

    /// Whether the file at `path` may be a pack: it is there and begins as Zstandard does. Throws `unreadable`.
    package static func isPack(_ path: String) throws(CheckpointError) -> Bool {
        guard try checkedPathKind(path) == .regularFile else { return false }
        return try MappedFile.open(path).withBytes(SeekableZstdFile.isZstandard)
    }

    /// Opens a pack and checks all that it says of its files; none of them is unpacked.
    ///
    /// Throws `malformed` for anything but plain files with plain names, each once, and what opening throws.
    package static func open(_ path: String) throws(CheckpointError) -> FilePack { try FilePack(MappedFile.open(path)) }

    /// A pack in a mapped file; see `open`.
    init(_ file: MappedFile) throws(CheckpointError) {
        packed = try SeekableZstdFile(file, frameLimit: Self.frameLimit)
        func failure(_ place: Int, _ problem: String) -> CheckpointError {
            .malformed(file: file.path, problem: "byte \(place) of the archive in it \(problem)")
        }
        var entries: [Entry] = []
        var position = 0
        while true {
            guard packed.byteCount - position >= ArchiveHeader.blockSize else {
                throw failure(position, "should start a file's header or the end, but the archive ends")
            }
            let block = try packed.read(position..<position + ArchiveHeader.blockSize)
            if block.allSatisfy({ $0 == 0 }) { break }
            let header: ArchiveHeader
            do throws(ArchiveProblem) {
                header = try ArchiveHeader(block)
            } catch {
                throw failure(position, error.text)
            }
            let start = position + ArchiveHeader.blockSize
            guard header.paddedCount <= packed.byteCount - start else {
                throw failure(position, "gives '\(header.name)' \(header.byteCount) bytes, more than there are")
            }
            guard !entries.contains(where: { $0.name.hasSameBytes(as: header.name) }) else {
                throw failure(position, "names '\(header.name)' for the second time")
            }
            guard entries.count < Self.entryLimit else {
                throw failure(
                    position, "starts another file after \(entries.count), which are all that a pack may have")
            }
            entries.append(Entry(name: header.name, range: start..<start + header.byteCount))
            position = start + header.paddedCount
        }
        let end = position..<packed.byteCount
        guard end.count >= 2 * ArchiveHeader.blockSize, end.count <= Self.endLimit,
            try packed.read(end).allSatisfy({ $0 == 0 })
        else { throw failure(position, "should start the end, two blocks of zeros") }
        self.entries = entries
    }

    /// The file called `name`.
    package func entry(_ name: String) -> Entry? { entries.first { $0.name.hasSameBytes(as: name) } }

    /// What messages call a file of the pack.
    package func displayPath(_ name: String) -> String { joinedPath(path, name) }

    /// The whole of a small file. Throws `missing`, `tooLarge` and `malformed`.
    package func bytes(_ name: String, limit: Int) throws(CheckpointError) -> [UInt8] {
        guard let entry = entry(name) else { throw .missing(path: displayPath(name)) }
        guard entry.byteCount <= limit else { throw .tooLarge(path: displayPath(name), limit: limit) }
        return try packed.read(entry.range)
    }

    /// Bytes of content for each byte of the pack that a safetensors file may have. Trained numbers hardly pack; an
    /// adapter fresh from injection may be mostly zeros, but some of its numbers are random.
    private static let ratioLimit = 1000
    /// Bytes of content that a safetensors file may have whatever the pack's size.
    private static let freeBytes = 64 << 20

    /// A safetensors file of the pack, whose tensors are unpacked when they are read.
    ///
    /// Its values are read into memory as a rule, so that one of more than 64 MiB and more than 1000 times the pack's
    /// own bytes is refused. A file that lies on the disk unpacked needs no such rule: its tensors have the size that
    /// the file shows (holes in it count). Throws `missing`, `unsupported` for too much content, and what opening one
    /// throws.
    package func safetensors(_ name: String) throws(CheckpointError) -> SafetensorsFile {
        guard let entry = entry(name) else { throw .missing(path: displayPath(name)) }
        guard entry.byteCount <= Self.freeBytes || entry.byteCount / Self.ratioLimit <= packed.source.byteCount else {
            throw .unsupported(
                file: displayPath(name),
                problem: "has \(entry.byteCount) bytes in a pack of \(packed.source.byteCount), more than "
                    + "\(Self.ratioLimit) for each: no trained weights pack so; unpack it with zstd -d and tar -x "
                    + "if it is meant")
        }
        return try SafetensorsFile(MappedFile.unpacking(packed, entry.range, path: displayPath(name)))
    }

    /// Writes all files into `directory`, under their names, once the disk has room for each. Throws `malformed` and
    /// `writeFailed`.
    package func unpack(
        into directory: AtomicDirectory, threadCount: Int = ThreadTeam.available
    ) throws(CheckpointError) {
        for entry in entries {
            let file = try directory.writer(entry.name)
            try file.checkRoom(for: entry.byteCount)
            try packed.write(entry.range, to: file, threadCount: threadCount)
            try file.commit()
        }
    }

    /// Bytes that `unpack` holds at most: the contents of a frame a thread.
    package func unpackingByteCount(threadCount: Int) -> Int {
        let largest = (0..<packed.frameCount).reduce(0) { max($0, packed.contentRange(of: $1).count) }
        return min(threadCount * largest, max(largest, SeekableZstdFile.contentLimit))
    }

    /// Throws `inputChanged` where the pack is no longer the file that was opened.
    package func checkUnchanged() throws(CheckpointError) { try packed.source.checkUnchanged() }

    /// Packs the files called `names` in `directory`, in that order; the same contents give the same bytes.
    ///
    /// Throws `malformed` for names that are not plain, `tooLarge` for a file that an archive cannot hold, and what
    /// opening and writing throw.
    package static func write(
        _ names: [String], in directory: String, to output: AtomicFileWriter,
        level: Int = SeekableZstdWriter.defaultLevel, threadCount: Int = ThreadTeam.available
    ) throws(CheckpointError) {
        precondition(
            names.count <= entryLimit && NameSet(names).count == names.count, "a pack has few files, each once")
        let writer = SeekableZstdWriter(output, level: level, threadCount: threadCount)
        var files: [MappedFile] = []
        for name in names {
            let file = try MappedFile.open(joinedPath(directory, name))
            guard ArchiveHeader.isPlain(name) else {
                throw .malformed(file: file.path, problem: "has a name that a pack cannot hold")
            }
            guard file.byteCount <= ArchiveHeader.fileLimit else {
                throw .tooLarge(path: file.path, limit: ArchiveHeader.fileLimit)
            }
            files.append(file)
            let header = ArchiveHeader(name: name, byteCount: file.byteCount)
            try writer.append(header.bytes)
            writer.endFrame()
            for part in try parts(of: file) {
                try writer.append(part, of: file)
                writer.endFrame()
            }
            try writer.append([UInt8](repeating: 0, count: header.paddedCount - header.byteCount))
        }
        try writer.append([UInt8](repeating: 0, count: 2 * ArchiveHeader.blockSize))
        try writer.finish(rechecking: files)
    }

    /// What of a file has frames of its own: the header and each tensor of a safetensors file, other files as a whole.
    private static func parts(of file: MappedFile) throws(CheckpointError) -> [Range<Int>] {
        guard file.path.hasSuffix(".safetensors") else { return [0..<file.byteCount] }
        let tensors = try SafetensorsFile(file).tensors
        return [0..<(tensors.first?.offset ?? file.byteCount)] + tensors.map(\.byteRange)
    }
}
