import Synchronization
import Testing
import Threads

@Suite struct ThreadTeamTests {
    private struct Failure: Error, Equatable {
        let item: Int
    }

    @Test(arguments: [0, 1, 2, 5]) func everyItemIsTakenOnceByAThreadOfTheTeam(threads: Int) {
        let team = ThreadTeam(threads)
        for count in [0, 1, 2, 7, 100] {
            let taken = Mutex([Int](repeating: 0, count: count))
            team.takeItems(count) { item, thread in
                #expect(0..<team.count ~= thread)
                taken.withLock { $0[item] += 1 }
            }
            #expect(taken.withLock { $0 } == [Int](repeating: 1, count: count))
        }
    }

    @Test func aPoolIsSmallerForAWhile() {
        let whole = ThreadTeam.available
        #expect(ThreadTeam.withPool(of: 1) { ThreadTeam.available } == 1)
        #expect(ThreadTeam.withPool(of: nil) { ThreadTeam.available } == whole)
        #expect(ThreadTeam.withPool(of: whole + 1) { ThreadTeam.available } == whole)
        #expect(throws: Failure(item: 1)) {
            try ThreadTeam.withPool(of: 1) { () throws(Failure) in throw Failure(item: 1) }
        }
        #expect(ThreadTeam.available == whole)
    }

    @Test func anErrorIsThrownAndEndsTheTaking() {
        let done = Mutex(0)
        #expect(throws: Failure(item: 3)) {
            try ThreadTeam(1).takeItems(1000) { (item, _) throws(Failure) in
                if item == 3 { throw Failure(item: item) }
                done.withLock { $0 += 1 }
            }
        }
        #expect(done.withLock { $0 } == 3)
    }

    /// Every item fails from the third on, so each thread fails once at most before the taking ends.
    @Test func theFirstOfSeveralErrorsIsThrown() throws {
        let failures = Mutex([Int]())
        let thrown = #expect(throws: Failure.self) {
            try ThreadTeam(4).takeItems(1000) { (item, _) throws(Failure) in
                guard item >= 2 else { return }
                failures.withLock { $0.append(item) }
                throw Failure(item: item)
            }
        }
        let (items, item) = (failures.withLock { $0 }, try #require(thrown).item)
        #expect(items.count <= 4 && items.contains(item))
    }

    @Test func resultsComeFromTheirPlaces() {
        let squares = ResultSlots.collect(50, 0) { slots in
            ThreadTeam(3).takeItems(50) { item, _ in slots.put(item * item, at: item) }
        }
        #expect(squares == (0..<50).map { $0 * $0 })
    }

    @Test(arguments: [1, 2, 5], [1, 3, 100]) func mappedValuesKeepTheirOrder(threads: Int, grain: Int) {
        for count in [0, 1, 7, 50] {
            let squares = ThreadTeam(threads).map(count, grain: grain) { $0 * $0 }
            #expect(squares == (0..<count).map { $0 * $0 })
        }
    }

    /// Whichever thread comes to an error first, the first of the items is told.
    @Test(arguments: [1, 2, 5], [1, 3]) func theFirstErrorInOrderIsThrownByAMap(threads: Int, grain: Int) {
        for first in [0, 5, 998] {
            #expect(throws: Failure(item: first)) {
                try ThreadTeam(threads).map(1000, grain: grain) { (item) throws(Failure) in
                    if item >= first { throw Failure(item: item) }
                }
            }
        }
    }

    @Test(arguments: [1, 2, 5]) func bothOfTwoThingsAreDone(threads: Int) {
        let (number, text) = ThreadTeam(threads).both({ 7 }, { "seven" })
        #expect(number == 7 && text == "seven")
    }
}
