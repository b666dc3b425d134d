import CheckpointIO
import Glibc
import TensorCore

/// What a file outside the run's directory has of the run's log: the form of its pieces, each of which tells of one
/// line.
protocol RunRecordForm {
    /// The file.
    var path: String { get }
    /// What goes with the file where the run leaves nothing: the file, or the folder that it needs and that is not there.
    var place: String { get }
    /// What evaluations measure beside the loss, in order, by its names in the log.
    var measures: [String] { get set }
    /// The folder that has to be there.
    var outerFolder: String { get }
    /// Makes what has to be there before the file.
    func prepare() throws(CheckpointError)
    /// The piece that comes first.
    func header() -> [UInt8]
    /// What it has of a line of the log; nil for what it does not tell.
    func piece(of line: JSONObject) -> [UInt8]?
    /// The whole and sound pieces that a file begins with, the header first, as far as they tell of steps up to `step`;
    /// none where it begins otherwise.
    func pieces(of bytes: [UInt8], upTo step: Int) -> [ArraySlice<UInt8>]
    /// What two pieces of one line have in common, whenever they were written.
    func key(of piece: ArraySlice<UInt8>) -> [UInt8]
}

extension RunRecordForm {
    func prepare() {}
}

/// Whether anything has that name, be it a link that leads nowhere.
func isNamed(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0
}

/// A file outside the run's directory that is told of each line of its log. It grows by whole pieces, and goes on where
/// a resumed run does. Owns its descriptor.
final class RunRecordFile {
    /// What it holds.
    var form: any RunRecordForm
    private var descriptor: Int32 = -1
    /// What stands there of the time before a resumed run's next step.
    private var told: Set<[UInt8]> = []

    private static let byteLimit = 1 << 30

    init(_ form: any RunRecordForm) { self.form = form }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    /// Begins the file anew, or goes on behind what it has of `past`, of which it gets what it lacks.
    ///
    /// Throws `CheckpointError`, and `WorkflowError.outputExists` for a file that is there and is not that run's.
    func begin(after past: RunPast?) throws {
        try form.prepare()
        let (kept, missing) = try past.map { try compare(with: $0) } ?? (0, [])
        try open(keeping: kept)
        if kept == 0 { try append(form.header()) }
        for piece in missing { try append(piece) }
    }

    /// How many bytes of the file tell of the past, and what is missing behind them.
    private func compare(with past: RunPast) throws -> (kept: Int, missing: [[UInt8]]) {
        let wanted = past.lines?.compactMap { form.piece(of: $0) } ?? []
        let wantedKeys = Set(wanted.map { form.key(of: $0[...]) })
        let bytes = pathKind(form.path) == .nothing ? [] : try readSmallFile(form.path, limit: Self.byteLimit)
        let pieces = form.pieces(of: bytes, upTo: past.step)
        let keys = Set(pieces.dropFirst().map { form.key(of: $0) })
        guard bytes.isEmpty || !pieces.isEmpty, past.lines == nil || keys.isSubset(of: wantedKeys) else {
            throw WorkflowError.outputExists(
                form.path, remedy: "it holds something else than the figures of this run; give another name")
        }
        told = wantedKeys.union(keys)
        return (pieces.last?.endIndex ?? 0, wanted.filter { !keys.contains(form.key(of: $0[...])) })
    }

    private func open(keeping kept: Int) throws(CheckpointError) {
        let path = form.path
        // A link that leads nowhere is no name for a new file.
        let flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (pathKind(path) == .nothing ? O_NOFOLLOW : 0)
        descriptor = retryingOnInterrupt { Glibc.open(path, flags, 0o666) }
        guard descriptor >= 0 else { throw creationFailure(path, errno) }
        guard retryingOnInterrupt({ ftruncate(descriptor, kept) }) == 0 else {
            throw .writeFailed(path: path, code: errno)
        }
    }

    /// Writes what a line of the log says, unless a run that goes on says again what stands there.
    func add(_ line: JSONObject) throws(CheckpointError) {
        if line["event"]?.stringValue == "step" { told = [] }
        guard let piece = form.piece(of: line), told.isEmpty || !told.contains(form.key(of: piece[...])) else { return }
        try append(piece)
    }

    private func append(_ bytes: [UInt8]) throws(CheckpointError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if written < 0 {
                if errno == EINTR { continue }
                throw .writeFailed(path: form.path, code: errno)
            }
            rest = rest.dropFirst(written)
        }
    }
}
