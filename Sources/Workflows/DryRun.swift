import CheckpointIO
import Glibc
import TensorCore

/// What a command that writes would read, write and need, found without writing anything.
package struct DryRun: Sendable {
    /// A file that would be read.
    package struct Input: Sendable, Equatable {
        /// Where it is.
        package let path: String
        /// Its bytes.
        package let byteCount: Int
        /// Whether all of it is read; otherwise its header, and some values here and there.
        package let isWhole: Bool
    }

    /// Files that would be read.
    package let reads: [Input]
    /// Files that would be written; an estimate where the real run's results decide.
    package let writes: [OutputRehearsal.File]
    /// Memory for what is known beforehand to take much of it, about; the program itself takes some megabytes more.
    package let memory: [OutputRehearsal.Memory]
    /// What the memory leaves out, a phrase; nil for nothing of weight.
    package let memoryOmission: String?
    /// Where the output goes.
    package let outputPath: String
    /// Bytes at the output that are replaced, and stay on the disk until the new ones have their name.
    package let replacedBytes: Int
    /// The room where the output goes; nil where the file system does not tell.
    package internal(set) var space: DiskSpace?
    /// Bytes of memory that programs can still get; nil where the system does not tell.
    package internal(set) var availableMemory: Int?

    /// What the run itself would warn of before its first step.
    package internal(set) var warnings: [Wording] = []

    /// Bytes of the disk that the new files take.
    package var neededBytes: Int {
        writes.reduce(0) { sum, file in
            let (total, overflow) = sum.addingReportingOverflow(space?.taken(by: file.byteCount) ?? file.byteCount)
            return overflow ? .max : total
        }
    }

    /// All of `memory` together, bytes.
    package var memoryBytes: Int {
        memory.reduce(0) { sum, part in
            let (total, overflow) = sum.addingReportingOverflow(part.byteCount)
            return overflow ? .max : total
        }
    }

    /// Whether the new files fit beside what is there; true where the file system does not tell.
    package var fitsDisk: Bool { space.map { neededBytes <= $0.available } ?? true }

    /// Whether the memory is available now; true where the system does not tell.
    package var fitsMemory: Bool { availableMemory.map { memoryBytes <= $0 } ?? true }

    /// Whether both fit.
    package var fits: Bool { fitsDisk && fitsMemory }

    /// Throws `WorkflowError.doesNotFit` or `doesNotFitMemory` unless `fits`.
    package func check() throws(WorkflowError) {
        if let space, !fitsDisk {
            throw .doesNotFit(path: outputPath, needed: neededBytes, available: space.available)
        }
        if let availableMemory, !fitsMemory {
            throw .doesNotFitMemory(path: outputPath, needed: memoryBytes, available: availableMemory)
        }
    }

    init(
        _ rehearsal: OutputRehearsal, outputPath: String, whole: [String] = [], partly: [String] = [],
        numbers: Int = 0, memoryOmission: String? = nil
    ) {
        reads =
            whole.flatMap(Self.files).map { Input(path: $0, byteCount: fileSize($0) ?? 0, isWhole: true) }
            + partly.flatMap(Self.files).map { Input(path: $0, byteCount: fileSize($0) ?? 0, isWhole: false) }
        writes = Self.byDirectory(rehearsal.files)
        if numbers > 0 {
            rehearsal.addMemory("the adapter's numbers in F32", byteCount: numbers * MemoryLayout<Float>.stride)
        }
        memory = rehearsal.memory
        self.memoryOmission = memoryOmission
        self.outputPath = outputPath
        replacedBytes = Self.files(outputPath).reduce(0) { $0 + (fileSize($1) ?? 0) }
        space = DiskSpace(at: outputPath)
        availableMemory = Self.readAvailableMemory()
    }

    /// Files by name, those of a directory together: the parts of a model end in another order.
    private static func byDirectory(_ files: [OutputRehearsal.File]) -> [OutputRehearsal.File] {
        var directories: NameTable<Int> = [:]
        for file in files {
            let directory = parentDirectory(of: file.path)
            directories[directory] = directories[directory] ?? directories.count
        }
        return files.sorted {
            (directories[parentDirectory(of: $0.path)]!, $0.path)
                < (directories[parentDirectory(of: $1.path)]!, $1.path)
        }
    }

    /// Linux's estimate of how much memory programs can get without swapping; nil where it tells none.
    private static func readAvailableMemory() -> Int? {
        guard let file = fopen("/proc/meminfo", "r") else { return nil }
        defer { fclose(file) }
        var text = [UInt8](repeating: 0, count: 16 << 10)
        let count = fread(&text, 1, text.count, file)
        return availableMemory(inMeminfo: String(decoding: text[..<count], as: UTF8.self))
    }

    /// `MemAvailable` of a text as /proc/meminfo has it, in bytes; nil where that line is missing or is no number of
    /// kB.
    static func availableMemory(inMeminfo text: String) -> Int? {
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 3, words[0] == "MemAvailable:", words[2] == "kB", let size = Int(words[1]) else {
                continue
            }
            let (bytes, overflow) = size.multipliedReportingOverflow(by: 1024)
            return overflow ? .max : bytes
        }
        return nil
    }

    /// A file itself, or the regular files of a directory.
    private static func files(_ path: String) -> [String] {
        switch pathKind(path) {
        case .regularFile: [path]
        case .directory:
            directoryEntries(path).map { joinedPath(path, $0) }.filter { pathKind($0) == .regularFile }
        case .nothing, .other: []
        }
    }
}

/// What `inject` would do. Throws what `injectAdapter` throws before it writes.
package func dryRun(of request: InjectRequest) throws -> DryRun {
    let rehearsal = OutputRehearsal()
    let report = try injectAdapter(request, to: request.output(rehearsal))
    return DryRun(
        rehearsal, outputPath: request.outputPath,
        whole: [request.adapterPath, request.selectionPath].compactMap { $0 },
        partly: try Checkpoint.open(request.basePath).files, numbers: report.parameterCount)
}

/// What `prune` would do. Throws what `pruneAdapter` throws before it writes.
package func dryRun(of request: PruneRequest) throws -> DryRun {
    let rehearsal = OutputRehearsal()
    let report = try pruneAdapter(request, to: request.output(rehearsal))
    var inputs = [request.adapterPath]
    if case .selection(let path) = request.choice { inputs.append(path) }
    return DryRun(rehearsal, outputPath: request.outputPath, whole: inputs, numbers: report.parameterCount)
}

/// What `rank-modules` would do with an output; nil without one. Throws what `rankModules` throws before it writes.
package func dryRun(of request: RankRequest) throws -> DryRun? {
    guard let output = request.selectionPath else { return nil }
    let rehearsal = OutputRehearsal()
    _ = try rankModules(request, to: request.output(rehearsal))
    return DryRun(rehearsal, outputPath: output, whole: [request.adapterPath])
}

/// What `export` would do. Throws what `exportAdapter` throws before it writes.
package func dryRun(of request: ExportRequest) throws -> DryRun {
    let rehearsal = OutputRehearsal()
    let base = try exportAdapter(request, to: request.output(rehearsal)).base
    let adapter = try AdapterNumbers(of: request.adapterPath)
    return DryRun(
        rehearsal, outputPath: request.outputPath, whole: [request.adapterPath],
        partly: base?.checkpoint.files ?? [], numbers: adapter.count)
}

/// What `merge` would do. Throws what `mergeAdapter` throws before it writes or computes.
package func dryRun(of request: MergeRequest) throws -> DryRun {
    let rehearsal = OutputRehearsal()
    _ = try mergeAdapter(request, to: request.output(rehearsal))
    return DryRun(
        rehearsal, outputPath: request.outputPath,
        whole: try Checkpoint.open(request.basePath).files + request.adapters.map(\.path),
        numbers: try request.adapters.reduce(0) { $0 + (try AdapterNumbers(of: $1.path)).count })
}

/// What `convert` would do. Throws what `convertCheckpoint` throws before it writes or computes.
package func dryRun(of request: ConvertRequest) throws -> DryRun {
    let rehearsal = OutputRehearsal()
    let context = try ComputeOptions(precision: .f32, threadCount: request.threadCount).makeContext()
    let output = request.output(rehearsal)
    let plan = try planConversion(request, to: output)
    switch plan {
    case .checkpoint(let conversion):
        try conversion.write(threadCount: context.threadCount)
        return DryRun(
            rehearsal, outputPath: request.outputPath, whole: try Checkpoint.open(request.inputPath).files)
    case .packing, .unpacking:
        let count = try rehearsePacking(request, to: output, rehearsal, threadCount: context.threadCount)
        return DryRun(rehearsal, outputPath: request.outputPath, whole: [request.inputPath], numbers: count)
    }
}
