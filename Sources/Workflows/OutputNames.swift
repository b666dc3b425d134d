import CheckpointIO

/// Endings of files with a model that are not written here. A directory called so would be a surprise.
private let otherEndings = [
    ".bin", ".pt", ".pth", ".ckpt", ".ggml", ".onnx", ".h5", ".msgpack", ".zip", ".tar", ".gz", ".json", ".npz",
]

/// Throws `conflict` for the name of a checkpoint's output that ends like a file of another kind.
func refuseOtherEnding(of path: String, files: String) throws(WorkflowError) {
    guard let ending = otherEndings.first(where: path.hasSuffix), pathKind(path) != .directory else { return }
    throw .conflict(
        "'\(path)': no \(ending) file is written; names of files end in \(files), and directories have another name")
}
