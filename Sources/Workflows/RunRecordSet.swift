import CheckpointIO
import Glibc
import TensorCore
import Training

/// The files outside the run's directory that a run writes. They are worth as much as the run: before its first
/// checkpoint they go where it ends, and what they replace comes back.
final class RunRecordSet {
    private let records: [(path: String, record: any RunRecord)]
    private var isKept = false
    /// What goes where the run leaves nothing.
    private var places: [String] = []
    private static let asideSuffix = ".replaced"

    /// The files that a request asks for.
    init(_ request: TrainRequest) {
        var records: [(path: String, record: any RunRecord)] = []
        if let folder = request.eventFolder {
            records.append((joinedPath(folder, EventFile.fileName), EventFile(folder: folder)))
        }
        if let path = request.tablePath { records.append((path, StepTable(path: path))) }
        self.records = records
    }

    /// Where they are.
    var paths: [String] { records.map(\.path) }

    /// Throws `outputExists` for a file that is there, where the run neither goes on nor replaces.
    func check(_ request: TrainRequest) throws(WorkflowError) {
        guard !request.resumes, !request.replaces else { return }
        for path in paths where isNamed(path) {
            throw .outputExists(
                path, remedy: "use \(.replaces, true) to replace it, or \(.resumes, true) to go on with its run")
        }
    }

    /// Begins the files anew, or where a run goes on after `step`; `measures` are what evaluations measure beside the
    /// loss, nil for a language model's.
    func begin(after step: Int?, measures: [String]? = nil) throws(CheckpointError) {
        isKept = step != nil
        for (path, record) in records {
            if step == nil {
                let aside = path + Self.asideSuffix
                places.append(record.place)
                if !isNamed(path) {
                    TemporaryOutputs.add(record.place)
                } else if !TemporaryOutputs.putAside(path, at: aside) {
                    throw creationFailure(path, errno)
                }
            }
            if let measures { (record as? StepTable)?.measures = measures }
            try record.begin(after: step)
        }
    }

    /// Writes what an event says; behind the first checkpoint the files stay.
    func add(_ event: TrainingEvent) throws(CheckpointError) {
        for (_, record) in records { try record.add(event) }
        if case .checkpoint = event { keep() }
    }

    private func keep() {
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
