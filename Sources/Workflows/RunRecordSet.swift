import CheckpointIO
import Glibc
import TensorCore

/// The files outside the run's directory that a run writes. They are worth as much as the run: before its first
/// checkpoint they go where it ends, and what they replace comes back.
final class RunRecordSet {
    private let files: [RunRecordFile]
    private var isKept = false
    /// What goes where the run leaves nothing.
    private var places: [String] = []
    private static let asideSuffix = ".replaced"

    /// The files that a request asks for.
    init(_ request: TrainRequest) {
        var forms: [any RunRecordForm] = []
        if let folder = request.eventFolder { forms.append(EventFile(folder: folder)) }
        if let path = request.tablePath { forms.append(StepTable(path: path)) }
        files = forms.map(RunRecordFile.init)
    }

    /// Where they are.
    var paths: [String] { files.map(\.form.path) }

    /// Throws `WorkflowError.outputExists` for a file that is there, where the run neither goes on nor replaces, and
    /// `CheckpointError.cannotCreate` for one that cannot be made.
    func check(_ request: TrainRequest) throws {
        for form in files.map(\.form) {
            // A new run's own directory is there before the file.
            let isInRun = absolutePath(form.outerFolder).hasSameBytes(as: absolutePath(request.outputPath))
            if !isInRun || request.resumes { try checkPlace(form) }
            if request.replaces { try checkNoLink(form.path) }
            if !request.resumes, !request.replaces, isNamed(form.path) {
                throw WorkflowError.outputExists(
                    form.path,
                    remedy: "use \(.replaces, true) to replace it, or \(.resumes, true) to go on with its run")
            }
        }
    }

    private func checkPlace(_ form: any RunRecordForm) throws(CheckpointError) {
        switch try checkedPathKind(form.outerFolder) {
        case .directory: break
        case .nothing: throw creationFailure(form.path, ENOENT)
        default: throw creationFailure(form.path, ENOTDIR)
        }
        switch try checkedPathKind(form.path) {
        case .directory: throw creationFailure(form.path, EISDIR)
        case .nothing:
            if access(form.outerFolder, W_OK | X_OK) != 0 { throw creationFailure(form.path, errno) }
        case .regularFile:
            if access(form.path, W_OK) != 0 { throw creationFailure(form.path, errno) }
        case .other:
            throw .cannotCreate(path: form.path, reason: "something that is not a regular file is there")
        }
    }

    /// Throws for a link that would be put aside in place of the file that it leads to, as /dev/stdout is one.
    private func checkNoLink(_ path: String) throws(CheckpointError) {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFLNK else { return }
        throw .cannotCreate(path: path, reason: "a link is there; name the file that it leads to")
    }

    /// Begins the files anew, or where a run goes on; `measures` are what evaluations measure beside the loss, nil for a
    /// language model's. Throws as `RunRecordFile.begin`.
    func begin(after past: RunPast?, measures: [String]? = nil) throws {
        isKept = past != nil
        for file in files {
            if let measures { file.form.measures = measures }
            if past == nil {
                let path = file.form.path
                let aside = path + Self.asideSuffix
                places.append(file.form.place)
                if !isNamed(path) {
                    TemporaryOutputs.add(file.form.place)
                } else if !TemporaryOutputs.putAside(path, at: aside) {
                    throw creationFailure(path, errno)
                }
            }
            try file.begin(after: past)
        }
    }

    /// Writes what a line of the log says.
    func add(_ line: JSONObject) throws(CheckpointError) {
        for file in files { try file.add(line) }
    }

    /// Lets the files stay, whatever becomes of the run: there is a checkpoint.
    func keep() {
        guard !isKept else { return }
        isKept = true
        TemporaryOutputs.release(places)
    }

    /// Takes the files of a run back that left nothing.
    func giveUp() {
        guard !isKept else { return }
        // What cannot be put back stays aside under its other name.
        try? TemporaryOutputs.restore(places)
    }
}
