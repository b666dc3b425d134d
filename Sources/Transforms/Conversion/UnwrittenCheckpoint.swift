import CheckpointIO
import Models
import TensorCore

/// A checkpoint some of whose tensors are yet to be made: what a merge would write, so that a conversion can go on from
/// it without a copy on the disk.
struct UnwrittenCheckpoint: Sendable {
    /// The tensors in the order in which files of them would have them; those that are made lie nowhere.
    let checkpoint: Checkpoint
    /// What makes the tensors that are not in the files, by name.
    let made: NameTable<TensorStream.Rows>
    /// Files of `checkpoint`, by their places, that would not have the header that they have.
    var rewrittenFiles: Set<Int> = []
    /// `config.json`, where it is not the file's.
    var changedConfiguration: JSONValue?
    /// A GGUF file's metadata, in order.
    var metadata: [(key: String, value: GGUFEncodedValue)] = []
    /// The adapters in it.
    var record: MergeRecord
    /// The directory that it would be, which may name the model.
    var directory: String
}

extension CheckpointConversion.Draft {
    /// Takes the tensors that are not there yet from what makes them.
    mutating func take(_ made: NameTable<TensorStream.Rows>) {
        for (index, tensor) in tensors.enumerated() {
            guard case .record(let record, let order) = tensor.source, let rows = made[record.name] else { continue }
            tensors[index] = ConvertedTensor(tensor, madeFrom: record, order, rows)
        }
    }
}
