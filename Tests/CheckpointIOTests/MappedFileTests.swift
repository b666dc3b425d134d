import CheckpointIO
import Foundation
import TestSupport
import Testing

/// Bytes of a file that spans many pages.
private let manyPages = 64 << 10

/// Sums every page's first byte, which touches all of a mapping.
private func touch(_ file: MappedFile) -> Int {
    file.withBytes { bytes in stride(from: 0, to: bytes.count, by: 4096).reduce(0) { $0 + Int(bytes[$1]) } }
}

/// Resident pages of a mapping, in bytes.
private func resident(_ path: String) throws -> Int {
    // A file that says it is empty.
    let handle = try #require(FileHandle(forReadingAtPath: "/proc/self/smaps"))
    let lines = String(decoding: try handle.readToEnd() ?? Data(), as: UTF8.self).split(separator: "\n")
    let start = try #require(lines.firstIndex { $0.hasSuffix(path) })
    let line = try #require(lines[start...].first { $0.hasPrefix("Rss:") })
    return try #require(Int(line.split(separator: " ")[1])) << 10
}

@Suite struct MappedFileTests {
    @Test func pagesThatWereReadAreGivenBackNowAndThen() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/large"
            try writeFile(path, [UInt8](repeating: 1, count: 48 << 20))
            let file = try MappedFile.open(path)
            var sum = 0
            for start in stride(from: 0, to: file.byteCount, by: 1 << 18) {
                let part = start..<start + 1 << 18
                sum += try file.withBytes(in: part) { bytes in
                    stride(from: 0, to: bytes.count, by: 4096).reduce(0) { $0 + Int(bytes[$1]) }
                }
                file.finish(part)
                #expect(try resident(path) <= 17 << 20)
            }
            #expect(sum == file.byteCount / 4096)
            file.giveBackPages()
            #expect(try resident(path) == 0)
            #expect(touch(file) == file.byteCount / 4096)
        }
    }

    /// A process of its own each: the handler belongs to the whole process.
    @Test func pageThatIsLostWhileReadIsToldWithItsFile() async {
        await #expect(processExitsWith: .exitCode(74)) {
            let folder = try makeTemporaryFolder()
            guard MappingFaults.catchThem() else { exit(1) }
            Thread.detachNewThread {
                let error = MappingFaults.next()
                try? FileManager.default.removeItem(atPath: folder)
                exit(
                    error == .inputLost(path: folder + "/second")
                        && error.description.contains("second: was truncated or could not be read while in use")
                        ? error.exitStatus.rawValue : 2)
            }
            for name in ["first", "second"] { try writeFile(folder + "/" + name, [UInt8](repeating: 1, count: 65536)) }
            // A slot that was let go is used again.
            for _ in 0..<5000 { _ = try MappedFile.open(folder + "/first") }
            let files = try ["first", "second"].map { try MappedFile.open(folder + "/" + $0) }
            truncate(folder + "/second", 5000)
            guard touch(files[0]) == 16, touch(files[1]) == 0 else { exit(3) }
        }
    }

    @Test func faultElsewhereEndsTheProcessAsBefore() async {
        await #expect(processExitsWith: .signal(SIGBUS)) {
            guard MappingFaults.catchThem() else { exit(1) }
            let folder = try makeTemporaryFolder()
            try writeFile(folder + "/file", [1, 2, 3])
            let descriptor = open(folder + "/file", O_RDONLY)
            let pages = mmap(nil, 65536, PROT_READ, MAP_PRIVATE, descriptor, 0)
            try FileManager.default.removeItem(atPath: folder)
            exit(Int32(pages!.load(fromByteOffset: 8192, as: UInt8.self)))
        }
    }

    @Test func signalThatAProgramSendsEndsTheProcessAsBefore() async {
        await #expect(processExitsWith: .signal(SIGBUS)) {
            guard MappingFaults.catchThem() else { exit(1) }
            kill(getpid(), SIGBUS)
            // Another thread may be the one that gets it.
            sleep(10)
            exit(2)
        }
    }

    @Test func fileThatIsWrittenToIsNotTheFileThatWasOpened() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/input"
            let changes: [(String, () throws -> Void)] = [
                ("it had 65536 bytes and has 100 now", { truncate(path, 100) }),
                ("it had 65536 bytes and has 65537 now", { truncate(path, 65537) }),
                (
                    "something wrote to it",
                    {
                        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
                        try file.write(contentsOf: [9])
                        try file.close()
                    }
                ),
            ]
            for (words, change) in changes {
                try writeFile(path, [UInt8](repeating: 1, count: manyPages))
                let input = try MappedFile.open(path)
                try input.checkUnchanged()
                // More than a tick of the file system's clock.
                usleep(20_000)
                try change()
                let error = try #require(throws: CheckpointError.self) { try input.checkUnchanged() }
                #expect(error == .inputChanged(path: path, change: words) && error.exitStatus == .inputOutput)
            }
        }
    }

    @Test func fileThatIsReplacedByAnotherStaysAsItWas() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/input"
            try writeFile(path, [UInt8](repeating: 1, count: manyPages))
            let input = try MappedFile.open(path)
            try writeFile(folder + "/other", [2])
            #expect(rename(folder + "/other", path) == 0)
            try input.checkUnchanged()
            #expect(touch(input) == 16)
            #expect(removeFile(path))
            try input.checkUnchanged()
        }
    }

    @Test func outputOfAChangedInputIsNotLeft() throws {
        try withTemporaryFolder { folder in
            try writeFile(folder + "/input", [UInt8](repeating: 1, count: manyPages))
            let input = try MappedFile.open(folder + "/input")
            let whole = try AtomicFileWriter(folder + "/whole")
            try whole.copy(0..<manyPages, of: input)
            try whole.commit(rechecking: [input])

            let late = try AtomicFileWriter(folder + "/late")
            try late.copy(0..<manyPages, of: input)
            let directory = try AtomicDirectory(folder + "/directory")
            try directory.write("config.json", text: "{}")
            truncate(folder + "/input", 100)
            #expect(throws: CheckpointError.self) { try late.commit(rechecking: [input]) }
            #expect(throws: CheckpointError.self) { try directory.commit(rechecking: [input]) }
            // The range is no longer there.
            let short = try AtomicFileWriter(folder + "/short")
            let error = try #require(throws: CheckpointError.self) { try short.copy(0..<manyPages, of: input) }
            #expect(error.description.contains("input: was changed while in use"), "\(error)")
            short.abandon()
            #expect(try names(in: folder) == ["input", "whole"])
        }
    }
}
